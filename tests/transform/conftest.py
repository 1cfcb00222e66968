"""The small networks of `framework_networks` as fixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from framework_networks import MAKERS, Network, make_plain, make_weights


@pytest.fixture(params=MAKERS, scope="session")
def network(request: pytest.FixtureRequest) -> Network:
    return MAKERS[request.param](make_weights())


@pytest.fixture(scope="session")
def plain() -> Network:
    return make_plain(make_weights())


@pytest.fixture(scope="session")
def images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 2)), jnp.float32)


@pytest.fixture(scope="session")
def expected_maps(images: jax.Array) -> dict[str, np.ndarray]:
    """Every tapped value, computed with NumPy alone."""
    weights = make_weights()

    def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        height, width = x.shape[1:3]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifts = [(i, j) for i in range(3) for j in range(3)]
        return bias + sum(
            padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in shifts
        )

    def halve(x: np.ndarray) -> np.ndarray:
        return sum(x[:, i::2, j::2] for i in range(2) for j in range(2)) / 4

    maps = {"conv1": convolve(np.asarray(images), weights["conv1"], weights["conv1_bias"])}
    maps["relu1"] = np.where(maps["conv1"] > 0, maps["conv1"], 0)
    maps["conv2"] = convolve(halve(maps["relu1"]), weights["conv2"], weights["conv2_bias"])
    maps["relu2"] = np.where(maps["conv2"] > 0, maps["conv2"], 0)
    maps["logits"] = maps["relu2"].mean((1, 2)) @ weights["dense"] + weights["dense_bias"]
    return maps
