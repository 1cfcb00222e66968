"""Every objective lowers for cpu, cuda and tpu, here and now."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxinterp.methods.layer_maps import Compute
from jaxinterp.methods.suppression import SuppressionSettings, suppression_task
from jaxinterp.optimize import RECIPES
from jaxinterp.optimize.task import Found
from jaxinterp.weights.load import load

PLATFORMS = ("cpu", "cuda", "tpu")
LANES, SIDE = 3, 16


def exported(function, *arguments):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    return export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)


@pytest.fixture(scope="module")
def jobs():
    images = np.random.default_rng(0).uniform(size=(LANES, SIDE, SIDE, 3)).astype(np.float32)
    return {"image": jnp.asarray(images), "kernel": jnp.arange(LANES, dtype=jnp.int32)}


@pytest.mark.parametrize("convolutions", ["direct", "auto"])
@pytest.mark.parametrize("model", ["vgg_cifar10", "cifar_resnet20"])
def test_a_segment_lowers_for_every_platform_and_computes_the_same(model, convolutions, jobs):
    network = load(model, weights="random")
    layer = "relu2_1" if model == "vgg_cifar10" else "layer1.1"
    task, shared, _ = suppression_task(
        network,
        layer,
        SuppressionSettings(steps=5),
        size=(SIDE, SIDE),
        lanes=LANES,
        compute=Compute(convolutions=convolutions),
    )
    start = task.begin(shared, jobs)
    state = task.lanes.start(start.inputs, start.data)

    made = exported(lambda *a: jax.tree.leaves(task.lanes.scan(5, *a)), shared, state)
    assert set(made.platforms) == set(PLATFORMS)
    # What was lowered is the computation: run through the exported module.
    leaves = made.call(shared, state)
    wanted = jax.tree.leaves(jax.jit(lambda *a: task.lanes.scan(5, *a))(shared, state))
    for ours, theirs in zip(leaves, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_beginning_and_the_end_of_jobs_lower_too(jobs):
    task, shared, _ = suppression_task(
        load("vgg_cifar10", weights="random"),
        "relu2_1",
        SuppressionSettings(steps=5),
        size=(SIDE, SIDE),
        lanes=LANES,
    )
    found = Found(
        inputs=jobs["image"],
        loss=jnp.zeros(LANES),
        step=jnp.zeros(LANES, jnp.int32),
        steps=jnp.zeros(LANES, jnp.int32),
        status=jnp.full(LANES, 2, jnp.int32),
    )
    for function, arguments in ((task.begin, (shared, jobs)), (task.end, (shared, jobs, found))):
        made = exported(lambda *a, f=function: jax.tree.leaves(f(*a)), *arguments)
        assert set(made.platforms) == set(PLATFORMS)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_lowers(name, jobs):
    task, shared, _ = suppression_task(
        load("vgg_cifar10", weights="random"),
        "relu1_1",
        SuppressionSettings(optimizer=name, steps=5),
        size=(SIDE, SIDE),
        lanes=LANES,
    )
    start = task.begin(shared, jobs)
    state = task.lanes.start(start.inputs, start.data)
    made = exported(lambda *a: jax.tree.leaves(task.lanes.step(*a)), shared, state)
    assert set(made.platforms) == set(PLATFORMS)


def test_precision_is_what_was_asked_for():
    """On accelerators float32 products are float32 unless a faster precision is asked for."""
    network = load("vgg_cifar10", weights="random")
    for precision, count in (("highest", 1), ("default", 0)):
        task, shared, _ = suppression_task(
            network,
            "relu2_1",
            SuppressionSettings(steps=5),
            size=(SIDE, SIDE),
            lanes=LANES,
            compute=Compute(convolutions="direct", precision=precision),
        )
        images = jax.ShapeDtypeStruct((LANES, SIDE, SIDE, 3), np.float32)
        kernels = jax.ShapeDtypeStruct((LANES,), np.int32)
        start = jax.eval_shape(task.begin, shared, {"image": images, "kernel": kernels})
        state = jax.eval_shape(task.lanes.start, start.inputs, start.data)
        text = exported(lambda *a, t=task: jax.tree.leaves(t.lanes.step(*a)), shared, state)
        module = text.mlir_module()
        products = [line for line in module.splitlines() if "stablehlo.convolution" in line]
        assert products
        assert all(("HIGHEST" in line) == bool(count) for line in products)
