"""Networks of MatConvNet: both spellings of their structs, dense layers, the mean image."""

import io

import numpy as np
import pytest
import scipy.io

from jaxinterp.errors import UserError
from jaxinterp.weights.read import read_weights

RANDOM = np.random.default_rng(0)
KERNELS = {
    "conv1": RANDOM.normal(size=(5, 5, 3, 4)).astype(np.float32),
    "conv2": RANDOM.normal(size=(3, 3, 4, 6)).astype(np.float32),
    "fc6": RANDOM.normal(size=(2, 3, 6, 8)).astype(np.float32),
    "fc7": RANDOM.normal(size=(1, 1, 8, 5)).astype(np.float32),
    "fc8": RANDOM.normal(size=(1, 1, 5, 1)).astype(np.float32),
}
BIASES = {name: RANDOM.normal(size=k.shape[-1]).astype(np.float32) for name, k in KERNELS.items()}
MEAN = RANDOM.uniform(0, 255, (4, 6, 3)).astype(np.float32)


def cell(values):
    made = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        made[0, i] = value
    return made


def layer(name, spelling, *, bias_as=lambda bias: bias[:, None]):
    kernel, bias = KERNELS[name], bias_as(BIASES[name])
    # MATLAB has no lengths of 1 at the end of a shape.
    kernel = kernel.reshape(kernel.shape[:3]) if kernel.shape[3] == 1 else kernel
    if spelling == "old":
        return {"type": "conv", "name": name, "filters": kernel, "biases": bias, "stride": [1.0, 1]}
    return {"name": name, "type": "conv", "weights": cell([kernel, bias]), "pad": [0.0] * 4}


def network(spelling="new", **changes):
    layers = []
    for name in KERNELS:
        relu = {"type": "relu", "name": f"relu{name[-1]}"}
        if spelling == "new":
            relu["weights"] = cell([])
        layers += [layer(name, spelling), relu]
    layers.append({"type": "softmax", "name": "prob"})
    settings = {"averageImage": MEAN, "imageSize": [4.0, 6.0, 3.0], "keepAspect": False}
    variables = {"layers": cell(layers)}
    classes = {"name": cell(["n01440764", "n01443537"]), "description": cell(["tench", "goldfish"])}
    if spelling == "old":
        variables |= {"normalization": settings, "classes": classes}
    else:
        variables["meta"] = {"normalization": settings, "classes": classes}
    return variables | changes


@pytest.fixture
def read(tmp_path):
    def read(variables, *, compressed=True):
        out = io.BytesIO()
        scipy.io.savemat(out, variables, do_compression=compressed)
        path = tmp_path / "imagenet-vgg-f.mat"
        path.write_bytes(out.getvalue())
        return read_weights(path)

    return read


@pytest.mark.parametrize("spelling", ["old", "new"])
@pytest.mark.parametrize("compressed", [False, True])
def test_both_spellings_are_read(read, spelling, compressed):
    found = read(network(spelling), compressed=compressed)
    assert found.format == "matconvnet"
    assert found.layout == "hwio"
    assert list(found.arrays) == [
        f"{name}.{part}" for name in KERNELS for part in ("weight", "bias")
    ]
    for name, bias in BIASES.items():
        np.testing.assert_array_equal(found.arrays[f"{name}.bias"], bias)
        assert found.arrays[f"{name}.weight"].dtype == np.float32
    for name in ("conv1", "conv2"):
        np.testing.assert_array_equal(found.arrays[f"{name}.weight"], KERNELS[name])
    assert found.mean_image.dtype == np.float32
    np.testing.assert_array_equal(found.mean_image, MEAN / np.float32(255))


def test_a_dense_layer_is_the_convolution_that_covers_its_input(read):
    found = read(network()).arrays
    assert found["fc6.weight"].shape == (2 * 3 * 6, 8)
    image = RANDOM.normal(size=(2, 3, 6))
    outputs = np.zeros(8)
    for y in range(2):
        for x in range(3):
            for channel in range(6):
                outputs += image[y, x, channel] * KERNELS["fc6"][y, x, channel]
    np.testing.assert_allclose(image.reshape(-1) @ found["fc6.weight"], outputs, rtol=1e-5)
    assert found["fc8.weight"].shape == (5, 1)


@pytest.mark.parametrize(
    "bias_as", [lambda b: b[:, None], lambda b: b[None], lambda b: b.astype(np.float64)[None]]
)
def test_biases_may_be_rows_or_columns(read, bias_as):
    found = read(network(layers=cell([layer("conv1", "new", bias_as=bias_as)]))).arrays
    np.testing.assert_array_equal(found["conv1.bias"], BIASES["conv1"])


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1, 1, 3)])
def test_a_mean_colour_is_one_pixel(read, shape):
    colour = np.array([123.68, 116.78, 103.94])
    settings = {"normalization": {"averageImage": colour.reshape(shape)}}
    found = read(network(meta=settings)).mean_image
    assert found.shape == (1, 1, 3)
    np.testing.assert_array_equal(found[0, 0], np.float32(colour) / np.float32(255))


@pytest.mark.parametrize("meta", [{}, {"normalization": {"averageImage": np.zeros((0, 0))}}])
def test_without_a_mean_image_there_is_none(read, meta):
    assert read(network(meta=meta)).mean_image is None


def changed(**fields):
    return cell([layer("conv1", "new") | fields])


REFUSED = {
    "no layers": ({"x": np.zeros(3)}, "no cell `layers`, only 'x'"),
    "layers as an array": (network(layers=np.zeros((1, 21))), "no cell `layers`"),
    "no weights": (network(layers=cell([{"type": "relu"}])), "`layers` have no weights"),
    "DagNN": (network(params=cell([])), "DagNN"),
    "a net": ({"net": network()}, "DagNN"),
    "batch norm": (
        network(layers=cell([{"type": "bnorm", "name": "bn1", "weights": cell([np.ones(3)] * 3)}])),
        "in the layer 'bn1' of type 'bnorm'",
    ),
    "two of one name": (network(layers=cell([layer("conv1", "new")] * 2)), "two layers that are"),
    "five dimensions": (
        network(layers=changed(weights=cell([np.ones((2, 2, 2, 2, 2)), np.ones(2)]))),
        "kernels are no array",
    ),
    "text for kernels": (network(layers=changed(weights=cell(["a", "b"]))), "kernels are no array"),
    "no kernels": (
        network(layers=cell([layer("fc6", "new") | {"weights": cell([np.ones((1, 1, 1, 0)), 1])}])),
        "kernels are no array",
    ),
    "numbers for a type": (network(layers=changed(type=np.array([1, 2]))), "type 'a ndarray'|a nd"),
    "other biases": (
        network(layers=changed(weights=cell([KERNELS["conv1"], np.ones(3)]))),
        "biases do not fit",
    ),
    "a grey mean": (network(meta={"normalization": {"averageImage": np.ones((4, 4))}}), "neither"),
}  # fmt: skip


@pytest.mark.parametrize(("variables", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_named(read, variables, reason):
    with pytest.raises(UserError, match=reason):
        read(variables)
