"""Class-specific relevance against Captum's integrated gradients and PyTorch's upsampling."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxinterp.methods.class_relevance import class_relevance
from jaxinterp.methods.upsampling import bilinear_matrix
from jaxinterp.models.resnet import RESNETS, ResNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")
attr = pytest.importorskip("captum.attr", reason="needs Captum: run `make parity`")

from thin_pairs import folded_pair  # noqa: E402
from torch_comparison import channels_first  # noqa: E402

pytestmark = pytest.mark.parity

CLASSES, TARGETS, STEPS, MASK_SIDE, TOLERANCE = 11, [3, 7], 4, 24, 1e-6

THIN = dataclasses.replace(RESNETS["resnet18"], width=8, group_width=8)
THIN_BLOCKS = [[width // 8 for width in block] for block in VGG_BLOCKS["vgg11"]]
# An eighth as wide as published; the images' side; layers, the larger and the smaller maps.
NETWORKS = {
    "vgg11": (
        functools.partial(VGG, THIN_BLOCKS, batch_norm=False, hidden=(512, 512)),
        32,
        ["relu1_1", "relu3_2", "relu5_2"],
    ),
    "resnet18": (functools.partial(ResNet, THIN), 33, ["relu1", "layer2.0.relu1", "layer3.0"]),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory):
    """PyTorch's network with a softmax, its layers, ours, two images, masks; all in float64."""
    construct, side, layers = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("weights")
    theirs, found, ours = folded_pair(request.param, construct, CLASSES, layers, folder)
    random = np.random.default_rng(1)
    images = random.normal(size=(2, side, side, 3))
    masks = random.uniform(size=(2, MASK_SIDE, MASK_SIDE)) < 0.3
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.nn.Sequential(theirs, torch.nn.Softmax(1)).double(), found, ours, images, masks
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("path", "theirs"), [("layer", "LayerIntegratedGradients"), ("input", "LayerConductance")]
)
def test_relevance_equals_captums_upsampled_by_pytorch(case, path, theirs):
    network, layers, ours, images, masks = case
    with jax.enable_x64(True):
        explain = jax.jit(
            lambda params, images: class_relevance(
                ours.apply,
                params,
                images,
                np.array(TARGETS),
                list(layers),
                masks,
                path=path,
                derivative="difference",
                n_steps=STEPS,
            ),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        found = jax.tree.map(np.asarray, explain(ours.params, images))
    for name, module in layers.items():
        captums = getattr(attr, theirs)(network, module)
        maps = captums.attribute(channels_first(images), target=TARGETS, n_steps=STEPS).detach()
        maps = torch.nn.functional.interpolate(
            maps.abs(), size=(MASK_SIDE, MASK_SIDE), mode="bilinear", align_corners=False
        )
        expected = (maps * torch.tensor(masks)[:, None]).sum((2, 3)).numpy()
        units = found.units[name]
        assert units.dtype == expected.dtype == np.float64
        assert np.abs(expected).max() > 0
        error = np.abs(units - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE, f"{name}: {error:.1e} of the maximum"


@pytest.mark.parametrize("source", [1, 2, 7, 13, 56])
@pytest.mark.parametrize("target", [1, 5, 56, 113])
def test_upsampling_is_pytorchs(source, target):
    values = torch.randn(1, 1, source, 3, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(
        values, size=(target, 8), mode="bilinear", align_corners=False
    )
    found = bilinear_matrix(source, target) @ values[0, 0].numpy() @ bilinear_matrix(3, 8).T
    np.testing.assert_allclose(found, expected[0, 0], rtol=1e-12, atol=1e-12)
