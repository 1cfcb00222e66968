"""Whole runs on other networks than the built-in one."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorstore as ts

from jaxinterp.data.images import ImagesConfig, NamedImage
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep.config import LayerConfig, ModelConfig, ReportConfig, RunConfig
from jaxinterp.sweep.run import run

# Model, layer, channels of its images, class count.
NETWORKS = [("mnist", "relu2", 1, None), ("cifar_resnet20", "layer1.0", 3, 7)]


@pytest.mark.parametrize(("name", "layer", "channels", "classes"), NETWORKS)
def test_a_run_on_another_network(tmp_path, name, layer, channels, classes):
    config = RunConfig(
        output=str(tmp_path / "run"),
        layers=(LayerConfig(layer, (3, 1)),),
        images=ImagesConfig(size=16, pictures=("astronaut",)),
        model=ModelConfig(name, weights="random", classes=classes),
        lanes=2,
        suppression=SuppressionSettings(steps=4),
        report=ReportConfig(figures=1),
    )
    result = run(config)
    assert (result.jobs, result.failed) == (2, 0)
    assert result.page.stat().st_size > 0
    rows = pq.read_table(tmp_path / "run" / "jobs.parquet").to_pylist()
    assert [row["layer"] for row in rows] == [layer] * 2
    path = str(tmp_path / "run" / "images.zarr")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    images = ts.open(spec, open=True).result().read().result()
    assert images.shape == (2, 16, 16, channels)
    assert np.isfinite(images).all()


def test_grey_images_have_the_luma_of_their_colours():
    pixels = np.random.default_rng(0).uniform(size=(4, 4, 3)).astype(np.float32)
    image = NamedImage("image", pixels)
    assert image.with_channels(3) is image
    grey = image.with_channels(1)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(grey.pixels[..., 0], expected, rtol=1e-6)
    assert grey.pixels.dtype == np.float32
    assert grey.with_channels(1) is grey
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        image.with_channels(2)
