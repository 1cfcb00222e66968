"""The VGG family against PyTorch: the same weights, every named activation, gradients.

The networks have torchvision's structure. Those with ImageNet's head are an eighth as wide, so that
they need no gigabyte; the names and shapes of the full ones are compared without any numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxinterp
from jaxinterp.models.layers import BatchNorm, adaptive_average_pool
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.pooling import max_pool
from jaxinterp.models.preprocess import IMAGENET
from jaxinterp.models.registry import ARCHITECTURES, Architecture, find_architecture
from jaxinterp.models.vgg import VGG, VGG_BLOCKS, VGG_CIFAR10_BLOCKS
from jaxinterp.transform import capture
from jaxinterp.weights.layout import from_torch_layout

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")

pytestmark = pytest.mark.parity

THINNER = 8


def make_torch_vgg(blocks, *, batch_norm, classes, hidden, grid, pool_last=True):
    """torchvision.models.VGG: `features`, `avgpool`, `classifier`."""
    features, channels = [], 3
    for b, widths in enumerate(blocks):
        for width in widths:
            features.append(torch.nn.Conv2d(channels, width, 3, padding=1))
            features += [torch.nn.BatchNorm2d(width)] * batch_norm
            features.append(torch.nn.ReLU())
            channels = width
        if pool_last or b < len(blocks) - 1:
            features.append(torch.nn.MaxPool2d(2, 2))
    classifier, inputs = [], channels * grid * grid
    for width in hidden:
        classifier += [torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Dropout()]
        inputs = width
    classifier.append(torch.nn.Linear(inputs, classes))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Sequential(*features)
            self.avgpool = torch.nn.AdaptiveAvgPool2d(grid)
            self.classifier = torch.nn.Sequential(*classifier)

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return Network().eval()


def thin(name):
    depth, _, norm = name.partition("_")
    blocks = [[width // THINNER for width in block] for block in VGG_BLOCKS[depth]]
    return {
        "blocks": blocks,
        "batch_norm": bool(norm),
        "classes": 11,
        "hidden": (24, 16),
        "grid": 7,
    }


SMALL = {
    "blocks": VGG_CIFAR10_BLOCKS,
    "batch_norm": True,
    "classes": 10,
    "hidden": (),
    "grid": 1,
    "pool_last": False,
}
# Sides that give the average pool maps smaller and larger than its grid, and odd ones.
CASES = {
    "vgg_cifar10": (SMALL, 32),
    "vgg11": (thin("vgg11"), 64),
    "vgg16_bn": (thin("vgg16_bn"), 40),
}


def fill(network, seed=0):
    """He-initialised weights; biases, scales and running statistics that are not the identity."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(3)
                continue
            if value.ndim > 1:
                new = random.normal(0, np.sqrt(2 / value[0].numel()), value.shape)
            elif name.endswith("running_var"):
                new = random.uniform(0.3, 2, value.shape)
            elif name.endswith("weight"):
                new = random.normal(1, 0.2, value.shape)
            else:
                new = random.normal(0, 0.1, value.shape)
            value.copy_(torch.tensor(new))
    return network


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    """(PyTorch's network, ours loaded from its file, images NHWC)."""
    settings, side = CASES[request.param]
    network = fill(make_torch_vgg(**settings))
    path = tmp_path_factory.mktemp("weights") / "state_dict.safetensors"
    save_file({name: value.numpy().copy() for name, value in network.state_dict().items()}, path)
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "vgg_cifar10":
            architecture = Architecture(
                request.param,
                lambda classes: VGG(**(settings | {"classes": classes})),
                settings["classes"],
                IMAGENET,
                "",
            )
            patch.setitem(ARCHITECTURES, request.param, architecture)
        ours = jaxinterp.load(request.param, weights=path)
    images = np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)
    return network, ours, images


def channels_first(images):
    return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def activations(network, images):
    """The output of every module, by its path."""
    found = {}

    def keep(path):
        return lambda module, inputs, output: found.__setitem__(
            path, output.detach().numpy().copy()
        )

    modules = [(path, module) for path, module in network.named_modules() if path]
    handles = [module.register_forward_hook(keep(path)) for path, module in modules]
    with torch.no_grad():
        network(channels_first(images))
    for handle in handles:
        handle.remove()
    return found


def test_every_tap_equals_pytorchs_activation(pair):
    network, ours, images = pair
    expected = activations(network, images)
    names = [layer.name for layer in ours.layers]
    maps = jax.jit(capture(ours.apply, names))(ours.params, images)
    compared = set()
    for layer in ours.layers:
        wanted = expected[layer.alias]
        compared.add(layer.alias)
        if wanted.ndim == 4:
            wanted = wanted.transpose(0, 2, 3, 1)
        actual = np.asarray(maps[layer.name])
        assert actual.shape == wanted.shape, layer.name
        error, largest = np.abs(actual - wanted).max(), np.abs(wanted).max()
        assert largest > 0.01, layer.name
        assert error <= 1e-4 * largest, f"{layer.name}: {error:.1e} of {largest:.1e}"
    left = set(expected) - compared - {"features", "classifier"}
    kinds = {type(network.get_submodule(path)) for path in left}
    assert kinds <= {torch.nn.Dropout}, left


def input_gradients(network, ours, images, target, dtype):
    """The gradient of a logit in PyTorch and here, both NHWC in NumPy."""
    pictures = channels_first(images.astype(dtype)).requires_grad_()
    network.to(pictures.dtype)(pictures)[:, target].sum().backward()
    network.to(torch.float32)
    params = {name: np.asarray(value, dtype) for name, value in ours.params.items()}
    function = jax.jit(jax.grad(lambda images: ours.apply(params, images)[:, target].sum()))
    gradient = function(jnp.asarray(images, dtype))
    assert gradient.dtype == dtype
    return pictures.grad.numpy().transpose(0, 2, 3, 1), np.asarray(gradient)


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 1e-4), (np.float64, 1e-9)])
def test_the_gradient_of_a_logit_equals_pytorchs(pair, dtype, most):
    network, ours, images = pair
    with jax.enable_x64(dtype == np.float64):
        expected, actual = input_gradients(network, ours, images, 3, dtype)
    assert np.linalg.norm(expected) > 0
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error <= most, f"relative error {error:.1e}"


def full_settings(name):
    if name == "vgg_cifar10":
        return SMALL
    depth, _, norm = name.partition("_")
    blocks = VGG_BLOCKS[depth]
    return {
        "blocks": blocks,
        "batch_norm": bool(norm),
        "classes": 1000,
        "hidden": (4096, 4096),
        "grid": 7,
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_and_shapes_of_the_full_networks(name):
    with torch.device("meta"):
        state = make_torch_vgg(**full_settings(name)).state_dict()
    blueprint = Blueprint(find_architecture(name).build)
    # Arrays without memory: only their shapes are looked at.
    arrays = {
        key: np.broadcast_to(np.int8(0), tuple(value.shape))
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    flattened = {"classifier.0.weight"}
    heads = {key: arrays.pop(key) for key in flattened}
    shapes = {k: v.shape for k, v in from_torch_layout(arrays, flattened={}).items()}
    shapes |= {key: value.shape[::-1] for key, value in heads.items()}
    assert {key: leaf.shape for key, leaf in blueprint.shapes.items()} == shapes


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (4, 9)], ids=str)
def test_max_pooling_with_ties_equals_pytorchs(size):
    random = np.random.default_rng(0)
    x = random.integers(0, 3, (2, *size, 4)).astype(np.float32)
    dy = random.normal(size=(2, size[0] // 2, size[1] // 2, 4)).astype(np.float32)
    picture = channels_first(x).requires_grad_()
    pooled = torch.nn.functional.max_pool2d(picture, 2)
    pooled.backward(channels_first(dy))
    y, pull = jax.vjp(max_pool, jnp.asarray(x))
    np.testing.assert_array_equal(y, pooled.detach().numpy().transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(pull(dy)[0], picture.grad.numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("grid", [1, 3, 7])
@pytest.mark.parametrize("size", [(2, 2), (7, 7), (9, 5), (14, 21)], ids=str)
def test_adaptive_average_pooling_equals_pytorchs(size, grid):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool2d(channels_first(x), grid)
    actual = adaptive_average_pool(jnp.asarray(x), grid)
    np.testing.assert_allclose(actual, expected.numpy().transpose(0, 2, 3, 1), atol=1e-6)


def test_batch_norm_in_training_equals_pytorchs():
    random = np.random.default_rng(0)
    theirs = torch.nn.BatchNorm2d(5).train()
    weight, bias = random.normal(1, 0.3, 5), random.normal(size=5)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(weight))
        theirs.bias.copy_(torch.tensor(bias))
    blueprint = Blueprint(lambda: BatchNorm(5))
    params = {"weight": jnp.float32(weight), "bias": jnp.float32(bias)}
    statistics = {"running_mean": jnp.zeros(5), "running_var": jnp.ones(5)}

    @jax.jit
    def step(params, statistics, x, dy):
        def forward(params, x):
            module = blueprint.bind(params | statistics)
            y = module(x, training=True)
            return y, blueprint.read(module)

        y, pull, values = jax.vjp(forward, params, x, has_aux=True)
        return y, pull(dy), {name: values[name] for name in statistics}

    for _ in range(3):
        x = random.normal(0.5, 2, (4, 3, 3, 5)).astype(np.float32)
        dy = random.normal(size=x.shape).astype(np.float32)
        theirs.zero_grad()
        picture = channels_first(x).requires_grad_()
        expected = theirs(picture)
        expected.backward(channels_first(dy))
        y, (grads, dx), statistics = step(params, statistics, x, dy)
        for actual, wanted in (
            (y, expected.detach().numpy().transpose(0, 2, 3, 1)),
            (dx, picture.grad.numpy().transpose(0, 2, 3, 1)),
            (grads["weight"], theirs.weight.grad.numpy()),
            (grads["bias"], theirs.bias.grad.numpy()),
            (statistics["running_mean"], theirs.running_mean.numpy()),
            (statistics["running_var"], theirs.running_var.numpy()),
        ):
            np.testing.assert_allclose(actual, wanted, rtol=2e-4, atol=2e-5)
