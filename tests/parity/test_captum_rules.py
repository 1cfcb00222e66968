"""Guided backpropagation and deconvnet against Captum on a network shaped like VGG16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import deconvnet, guided_backprop, with_rules

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")
attr = pytest.importorskip("captum.attr", reason="needs Captum: run `make parity`")

pytestmark = pytest.mark.parity

SIDE, CLASSES, TARGET = 64, 10, 3
CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


@jax.custom_vjp
def max_pool(x):
    """2x2 max pooling whose gradient goes to the first maximum only, as PyTorch's does."""
    return windows(x).max(3)


def windows(x):
    batch, height, width, channels = x.shape
    pairs = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return pairs.reshape(batch, height // 2, width // 2, 4, channels)


def max_pool_backward(x, cotangent):
    first = jax.nn.one_hot(windows(x).argmax(3), 4, axis=3)
    batch, height, width, channels = cotangent.shape
    spread = (first * cotangent[:, :, :, None]).reshape(batch, height, width, 2, 2, channels)
    return (spread.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape),)


max_pool.defvjp(lambda x: (max_pool(x), x), max_pool_backward)


def apply(params, images):
    x, kernels = images, iter(params)
    for size in CHANNELS:
        if size == "M":
            x = max_pool(x)
            continue
        numbers = ("NHWC", "HWIO", "NHWC")
        kernel, bias = next(kernels)
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        x = jax.nn.relu(x + bias)
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    hidden, logits = kernels
    x = jnp.maximum(x @ hidden[0] + hidden[1], 0)
    return x @ logits[0] + logits[1]


def make_params():
    """He-initialised weights; the biases are small but not zero."""
    random = np.random.default_rng(0)
    params, before = [], 3
    for size in CHANNELS:
        if size != "M":
            scale = np.sqrt(2 / (9 * before))
            kernel = random.normal(0, scale, (3, 3, before, size))
            params.append((kernel, random.normal(0, 0.05, size)))
            before = size
    for rows, columns in ((2048, 64), (64, CLASSES)):
        kernel = random.normal(0, np.sqrt(2 / rows), (rows, columns))
        params.append((kernel, random.normal(0, 0.05, columns)))
    return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in params]


def make_torch_network(params):
    """The same network with a ReLU module for each use, as Captum requires."""
    layers, kernels = [], iter(params)
    for size in CHANNELS:
        if size == "M":
            layers.append(torch.nn.MaxPool2d(2))
            continue
        kernel, bias = next(kernels)
        layer = torch.nn.Conv2d(kernel.shape[2], size, 3, padding=1)
        layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        layer.bias.data = torch.tensor(bias)
        layers += [layer, torch.nn.ReLU()]
    layers.append(torch.nn.Flatten())
    for kernel, bias in kernels:
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data, layer.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).eval()


@pytest.mark.parametrize(
    ("composite", "method"),
    [(guided_backprop, "GuidedBackprop"), (deconvnet, "Deconvolution")],
    ids=["guided_backprop", "deconvnet"],
)
def test_rules_equal_captum(composite, method):
    params = make_params()
    images = np.random.default_rng(1).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    pictures = torch.tensor(images.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    attribution = getattr(attr, method)(make_torch_network(params)).attribute(pictures, TARGET)
    expected = attribution.detach().numpy().transpose(0, 2, 3, 1)

    ruled = with_rules(apply, composite)
    gradient = jax.grad(lambda images: ruled(params, images)[:, TARGET].sum())
    actual = np.asarray(jax.jit(gradient)(images))

    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert np.linalg.norm(expected) > 0
    assert error <= 1e-5, f"relative error {error:.1e}"
    ordinary = jax.grad(lambda images: apply(params, images)[:, TARGET].sum())(images)
    assert np.linalg.norm(ordinary - expected) > 0.1 * np.linalg.norm(expected)
