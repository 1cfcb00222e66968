"""The figures of the suppression paper's tables: VGG16, four kernels x 180 images a block.

Zhuang et al., "Understanding of Kernels in CNN Models by Suppressing Irrelevant Visual Features in
Images", Table 1 and Table 2: mean and standard deviation of SSIM of the selected map and of the MSE
of all others.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxinterp.sweep.comparison.config import ComparisonConfig, VariantConfig

__all__ = ["Published", "published"]


class Published(NamedTuple):
    """Mean and standard deviation of two measures."""

    similarity: float
    similarity_std: float
    mse_rest: float
    mse_rest_std: float


_TABLE_1 = {
    "guided_backprop": (
        Published(0.21, 0.29, 0.67, 0.62),
        Published(0.14, 0.18, 1.51, 0.61),
        Published(0.22, 0.15, 2.88, 1.03),
        Published(0.19, 0.14, 1.67, 1.23),
        Published(0.14, 0.18, 0.39, 0.33),
    ),
    "deconvnet": (
        Published(0.58, 0.22, 0.54, 0.57),
        Published(0.54, 0.18, 2.24, 1.33),
        Published(0.45, 0.20, 4.25, 1.85),
        Published(0.20, 0.17, 2.10, 1.51),
        Published(0.11, 0.19, 0.39, 0.28),
    ),
    "lrp": (
        Published(0.43, 0.22, 0.16, 0.16),
        Published(0.18, 0.14, 0.56, 0.37),
        Published(0.14, 0.11, 1.51, 0.96),
        Published(0.17, 0.14, 1.02, 0.96),
        Published(0.14, 0.18, 0.27, 0.32),
    ),
    "suppression": (
        Published(0.90, 0.13, 0.25, 0.20),
        Published(0.92, 0.07, 0.55, 0.03),
        Published(0.83, 0.14, 0.34, 0.52),
        Published(0.77, 0.17, 0.07, 0.46),
        Published(0.79, 0.25, 0.07, 0.46),
    ),
}

_TABLE_2 = {  # with L_s, with L_r
    (True, False): Published(0.82, 0.17, 0.34, 0.74),
    (False, True): Published(0.89, 0.11, 2.66, 3.22),
    (True, True): Published(0.84, 0.15, 0.25, 0.03),
}


def published(
    config: ComparisonConfig, variant: VariantConfig, layer: int | None
) -> Published | None:
    """What the paper's table, if one is asked for, has for a variant and a layer.

    Table 1 is by block: the first layer is compared with Block 1, and so on. Table 2 is for all
    layers together, and which row of it a variant is, is told by the terms that it leaves out.

    Args:
      config: names the table.
      variant: of the config.
      layer: its place in the config; None for all layers together.
    """
    if config.paper == "table1" and layer is not None:
        blocks = _TABLE_1[variant.method]
        return blocks[layer] if layer < len(blocks) else None
    together = layer is None or len(config.layers) == 1
    if config.paper == "table2" and together and variant.method == "suppression":
        settings = variant.suppression
        return _TABLE_2.get((settings.alpha > 0, settings.beta > 0))
    return None
