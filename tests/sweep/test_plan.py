"""Choosing kernels, and the identity of jobs."""

import dataclasses

import numpy as np
import pytest

from jaxinterp.data.images import ImagesConfig, NamedImage
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.models.layer_table import Layer
from jaxinterp.sweep.config import KernelChoice, LayerConfig, ModelConfig, RunConfig
from jaxinterp.sweep.plan import choose_kernels, make_plan, resolve_layers
from jaxinterp.weights.load import load

LAYER = Layer("relu1_1", "features.2", "relu", 8, 1, 3, 1)
IMAGES = [
    NamedImage(name, np.full((4, 4, 3), value, np.float32))
    for name, value in (("dark", 0.1), ("bright", 0.9))
]


@pytest.fixture(scope="module")
def network():
    return load("vgg_cifar10", weights="random")


def config(**changes):
    settings = {
        "output": "unused",
        "layers": (LayerConfig("relu1_1"),),
        "images": ImagesConfig(all_colours=True),
        "model": ModelConfig(weights="random"),
    }
    return RunConfig(**(settings | changes))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", list(range(8))),
        ((5, 1, 5), [5, 1]),
        ("0-2, 7", [0, 1, 2, 7]),
        (" 3 ", [3]),
        ("1-3,2-4", [1, 2, 3, 4]),
        (KernelChoice(most_active=3), [6, 1, 4]),
    ],
)
def test_kernels_are_chosen(choice, expected):
    activity = np.array([0, 5, 1, 0, 4, 1, 9, 0.5])
    assert choose_kernels(choice, LAYER, activity) == expected


def test_a_random_choice_depends_on_its_seed_alone():
    chosen = choose_kernels(KernelChoice(random=5, seed=1), LAYER, None)
    assert chosen == choose_kernels(KernelChoice(random=5, seed=1), LAYER, None)
    assert len(set(chosen)) == 5
    assert set(chosen) <= set(range(8))
    others = [choose_kernels(KernelChoice(random=5, seed=s), LAYER, None) for s in range(2, 12)]
    assert any(other != chosen for other in others)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ((8,), "no kernel 8 in relu1_1: it has kernels 0 to 7"),
        ((-1,), "no kernel -1"),
        ("0-999999999999", "no kernel 999999999999"),
        ("5-2", "run backwards"),
        ("most", 'give "all", a list, or ranges'),
        ("", 'give "all", a list, or ranges'),
        ((), "No kernels are chosen"),
        (KernelChoice(random=9), "9 kernels are asked of relu1_1, which has 8"),
    ],
)
def test_impossible_choices_are_named(choice, message):
    with pytest.raises(UserError, match=message):
        choose_kernels(choice, LAYER, np.zeros(8))


@pytest.mark.parametrize("keys", [{}, {"random": 2, "most_active": 2}, {"random": 0}])
def test_a_choice_has_one_rule(keys):
    with pytest.raises(ValueError, match="kernels"):
        KernelChoice(**keys)


def test_the_plan_is_every_kernel_on_every_image(network):
    jobs = make_plan(config(), network, IMAGES, {"relu1_1": [4, 2], "relu2_1": [0]})
    assert [(j.layer, j.kernel, j.image) for j in jobs] == [
        ("relu1_1", 4, 0),
        ("relu1_1", 4, 1),
        ("relu1_1", 2, 0),
        ("relu1_1", 2, 1),
        ("relu2_1", 0, 0),
        ("relu2_1", 0, 1),
    ]
    assert [j.index for j in jobs] == list(range(6))
    assert len({j.id for j in jobs}) == 6


def test_a_jobs_identity_is_all_that_decides_its_result(network):
    def identity(settings=SuppressionSettings(), model=network, images=IMAGES, **changes):  # noqa: B008
        jobs = make_plan(config(suppression=settings, **changes), model, images, {"relu1_1": [0]})
        return jobs[0].id

    same = identity()
    assert identity(title="other", output="elsewhere", lanes=4) == same
    renamed = [dataclasses.replace(IMAGES[0], name="renamed")]
    assert identity(images=renamed) == same
    assert identity(settings=SuppressionSettings(alpha=0.5)) != same
    assert identity(images=IMAGES[1:]) != same
    assert identity(model=dataclasses.replace(network, weights_sha256="0")) != same


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("relu1_2",), "no layer 'relu1_2'; nearest: relu"),
        (("fc",), "'fc' has no feature maps"),
        (("relu1_1", "features.2"), "listed twice, under two names"),
    ],
)
def test_layers_that_cannot_be_used_are_named(network, layers, message):
    with pytest.raises(UserError, match=message):
        resolve_layers(config(layers=tuple(map(LayerConfig, layers))), network)


@pytest.mark.parametrize(
    "change", [{"layers": ()}, {"lanes": 0}, {"layers": (LayerConfig("a"), LayerConfig("a"))}]
)
def test_a_run_needs_layers_and_lanes(change):
    with pytest.raises(ValueError, match=r"lane|layer"):
        config(**change)
