"""One small convolutional network, written in every framework with the same weights."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from jaxinterp.transform import tap

NAMES = ("conv1", "relu1", "conv2", "relu2", "logits")


class Network(NamedTuple):
    """`apply(params, images)` gives the logits, (batch, 3), of images (batch, 8, 8, 2)."""

    apply: Any
    params: Any


def make_weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"conv1": (3, 3, 2, 4), "conv2": (3, 3, 4, 5), "dense": (5, 3)}
    weights = {name: random.normal(0, 0.5, shape) for name, shape in shapes.items()}
    weights |= {f"{name}_bias": random.normal(0, 0.1, shape[-1]) for name, shape in shapes.items()}
    return {name: value.astype(np.float32) for name, value in weights.items()}


def convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers) + bias


def pool(x: jax.Array) -> jax.Array:
    """Halves both sides by averaging."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def make_plain(weights: dict[str, np.ndarray]) -> Network:
    def apply(params: Any, images: jax.Array) -> jax.Array:
        x = tap(convolve(images, params["conv1"], params["conv1_bias"]), "conv1")
        x = pool(tap(jnp.maximum(x, 0), "relu1"))
        x = tap(convolve(x, params["conv2"], params["conv2_bias"]), "conv2")
        x = tap(jax.nn.relu(x), "relu2").mean((1, 2))
        return tap(x @ params["dense"] + params["dense_bias"], "logits")

    return Network(apply, jax.tree.map(jnp.asarray, weights))


class NnxNetwork(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(4, 5, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = pool(tap(nnx.relu(tap(self.conv1(images), "conv1")), "relu1"))
        x = tap(nnx.relu(tap(self.conv2(x), "conv2")), "relu2")
        return tap(self.dense(x.mean((1, 2))), "logits")


def make_nnx(weights: dict[str, np.ndarray]) -> Network:
    model = nnx.eval_shape(lambda: NnxNetwork(nnx.Rngs(0)))
    graph, state = nnx.split(model)
    for name in ("conv1", "conv2", "dense"):
        state[name]["kernel"].set_value(jnp.asarray(weights[name]))
        state[name]["bias"].set_value(jnp.asarray(weights[f"{name}_bias"]))
    return Network(lambda state, images: nnx.merge(graph, state)(images), state)


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = tap(linen.Conv(4, (3, 3), name="conv1")(images), "conv1")
        x = pool(tap(linen.relu(x), "relu1"))
        x = tap(linen.Conv(5, (3, 3), name="conv2")(x), "conv2")
        x = tap(linen.relu(x), "relu2").mean((1, 2))
        return tap(linen.Dense(3, name="dense")(x), "logits")


def make_linen(weights: dict[str, np.ndarray]) -> Network:
    params = {
        name: {"kernel": jnp.asarray(weights[name]), "bias": jnp.asarray(weights[f"{name}_bias"])}
        for name in ("conv1", "conv2", "dense")
    }
    model = LinenNetwork()
    return Network(lambda params, images: model.apply({"params": params}, images), params)


class EquinoxNetwork(eqx.Module):
    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    dense: eqx.nn.Linear

    def __call__(self, images: jax.Array) -> jax.Array:
        def batched(layer: Any, x: jax.Array) -> jax.Array:
            return jnp.moveaxis(jax.vmap(layer)(jnp.moveaxis(x, 3, 1)), 1, 3)

        x = tap(batched(self.conv1, images), "conv1")
        x = tap(batched(self.conv2, pool(tap(jax.nn.relu(x), "relu1"))), "conv2")
        x = tap(jax.nn.relu(x), "relu2").mean((1, 2))
        return tap(jax.vmap(self.dense)(x), "logits")


def make_equinox(weights: dict[str, np.ndarray]) -> Network:
    def place(layer: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
        kernel, bias = jnp.asarray(kernel), jnp.asarray(bias)
        return eqx.tree_at(lambda one: (one.weight, one.bias), layer, (kernel, bias))

    key, bias = jax.random.key(0), {name: weights[f"{name}_bias"] for name in ("conv1", "conv2")}
    layers = {
        name: place(
            eqx.nn.Conv2d(*weights[name].shape[2:], 3, padding=1, key=key),
            weights[name].transpose(3, 2, 0, 1),
            bias[name][:, None, None],
        )
        for name in ("conv1", "conv2")
    }
    dense = place(eqx.nn.Linear(5, 3, key=key), weights["dense"].T, weights["dense_bias"])
    params, static = eqx.partition(EquinoxNetwork(**layers, dense=dense), eqx.is_array)
    return Network(lambda params, images: eqx.combine(params, static)(images), params)


MAKERS = {"plain": make_plain, "nnx": make_nnx, "linen": make_linen, "equinox": make_equinox}
