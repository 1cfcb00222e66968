"""The suppression method on the built-in network: what the defaults promise."""

import re
from pathlib import Path

import numpy as np
import pytest

import jaxinterp
from jaxinterp.methods.suppression import SuppressionSettings, Suppressor

LAYER = "relu2_2"
LANES = 32


@pytest.fixture(scope="module")
def network():
    return jaxinterp.load("vgg_cifar10")


@pytest.fixture(scope="module")
def jobs(network):
    """32 jobs: the eight most active kernels on four pictures."""
    config = jaxinterp.ImagesConfig(
        size=32, pictures=("astronaut", "chelsea", "coffee"), all_colours=True
    )
    images = np.stack([image.pixels for image in jaxinterp.load_images(config)[0]])
    activity = Suppressor(network, LAYER, lanes=4).maps(images).mean((0, 1, 2))
    kernels = np.argsort(-activity)[:8]
    return np.tile(images, (8, 1, 1, 1)), np.repeat(kernels, 4)


@pytest.mark.parametrize("lane", [0, 21])
def test_a_job_alone_and_among_32_lanes_take_the_same_first_steps(network, jobs, lane):
    images, kernels = jobs
    settings = SuppressionSettings(steps=20)
    together = Suppressor(network, LAYER, settings, lanes=LANES)(images, kernels)
    alone = Suppressor(network, LAYER, settings, lanes=1)(images[[lane]], kernels[[lane]])
    np.testing.assert_allclose(alone.images[0], together.images[lane], atol=1e-5)


def test_the_defaults_keep_the_map_and_a_lone_job_ends_as_well(network, jobs):
    images, kernels = jobs
    together = Suppressor(network, LAYER, lanes=LANES)(images, kernels)
    assert set(together.status) == {"done"}
    measures = together.measures
    assert measures["similarity"].mean() >= 0.9
    assert measures["mse_rest"].mean() <= 0.5 * measures["mse_rest_original"].mean()
    # A blank image suppresses the rest as well, but keeps nothing.
    assert measures["similarity_blank"].mean() < 0.3
    alone = Suppressor(network, LAYER, lanes=1)(images[[13]], kernels[[13]])
    np.testing.assert_allclose(alone.measures["loss"][0], measures["loss"][13], rtol=0.01)
    np.testing.assert_allclose(
        alone.measures["similarity"][0], measures["similarity"][13], atol=0.01
    )


def test_the_readmes_examples_run(capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    first, second, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names = {}  # the second goes on where the first ends
    for example, shown in ((first, "(6, 48, 48, 3)"), (second, "(2, 2, 48, 48, 3)")):
        exec(compile(example, "README.md", "exec"), names)
        assert shown in capsys.readouterr().out
