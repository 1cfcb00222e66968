"""Networks small enough to attribute by hand: a chain, one with a skip, and a linear one."""

import jax
import numpy as np

from jaxinterp.models.pooling import max_pool
from jaxinterp.transform import tap

SIDE, CLASSES = 8, 6


def convolve(x, weight, stride=1):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), "SAME", dimension_numbers=numbers
    )


def chain(params, images, activation=jax.nn.relu):
    x = tap(convolve(images, params["one"]) + params["shift"], "conv1")
    x = tap(activation(x), "relu1")
    x = tap(max_pool(x), "pool1")
    x = tap(activation(convolve(x, params["two"])), "relu2")
    return tap(x.mean((1, 2)) @ params["dense"], "logits")


def smooth_chain(params, images):
    """Without kinks, so that integrals converge quickly."""
    return chain(params, images, jax.nn.softplus)


def skipping(params, images):
    """Values skip around "relu2"."""
    x = tap(jax.nn.relu(convolve(images, params["one"])), "relu1")
    inner = tap(jax.nn.relu(convolve(x, params["two"])), "relu2")
    x = tap(jax.nn.relu(x + inner), "sum")
    return tap(x.mean((1, 2)) @ params["dense"], "logits")


def linear(params, images):
    return tap(convolve(images, params["one"]), "conv1").mean((1, 2)) @ params["dense"]


def make_params(dtype=np.float32):
    random = np.random.default_rng(0)
    shapes = {"one": (3, 3, 3, 4), "shift": (4,), "two": (3, 3, 4, 4), "dense": (4, CLASSES)}
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def make_images(count=2, dtype=np.float32):
    return np.random.default_rng(1).normal(size=(count, SIDE, SIDE, 3)).astype(dtype)


def equations(jaxpr, primitive):
    """How many equations of a primitive a program holds, those of its parts included."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == primitive
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else [value]:
                part = getattr(part, "jaxpr", part)
                if hasattr(part, "eqns"):
                    count += equations(part, primitive)
    return count
