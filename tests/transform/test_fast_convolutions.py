"""Fast convolutions equal XLA's in value and gradient, and their filters are transformed once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import TransformError, capture, fast_convolutions, stage, tap
from jaxinterp.transform.convolutions import ALGORITHMS
from jaxinterp.transform.convolutions.choose import choose
from jaxinterp.transform.convolutions.geometry import Geometry
from jaxinterp.transform.program import bodies, trace

NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")

# Maps [n, h, w, channels], kernels, window, and the convolution's options.
CASES = {
    "same, odd sizes": ((2, 9, 11, 4), 6, 3, {}),
    "valid": ((1, 12, 8, 4), 6, 3, {"padding": "VALID"}),
    "uneven padding": ((2, 7, 9, 3), 5, 3, {"padding": ((2, 0), (1, 3))}),
    "negative padding": ((1, 9, 9, 4), 4, 3, {"padding": ((-1, 0), (0, -2))}),
    "strides": ((2, 9, 11, 4), 6, 3, {"window_strides": (2, 2)}),
    "strides, negative padding": (
        (1, 9, 9, 4),
        4,
        3,
        {"window_strides": (2, 2), "padding": ((-1, 0), (0, 0))},
    ),
    "strides longer than the window": ((1, 11, 10, 2), 3, 2, {"window_strides": (3, 2)}),
    "stem": ((1, 17, 14, 3), 5, 7, {"window_strides": (2, 2), "padding": ((3, 3), (3, 3))}),
    "1x1": ((2, 5, 7, 4), 6, 1, {}),
    "1x1, strides": ((2, 5, 7, 4), 6, 1, {"window_strides": (2, 2), "padding": "VALID"}),
    "1x1, padding": ((1, 4, 4, 2), 3, 1, {"padding": ((1, 1), (0, 2))}),
    "5x5": ((1, 9, 8, 3), 4, 5, {}),
    "2x3": ((1, 8, 8, 3), 4, (2, 3), {}),
    "maps smaller than the window": ((2, 2, 1, 3), 4, 3, {}),
    "groups": ((2, 8, 9, 4), 8, 3, {"feature_group_count": 2}),
    "groups, strides": (
        (1, 8, 9, 4),
        8,
        3,
        {"feature_group_count": 4, "window_strides": (2, 2)},
    ),
    "dilated filter": ((1, 9, 9, 3), 4, 3, {"rhs_dilation": (2, 2)}),
    "dilated maps": ((1, 5, 5, 3), 4, 3, {"lhs_dilation": (2, 2), "padding": ((1, 1), (1, 1))}),
    "channels first": ((2, 9, 7, 4), 6, 3, {"dimension_numbers": NCHW}),
    "kernels first": ((2, 9, 7, 4), 6, 3, {"dimension_numbers": ("HWNC", "IOHW", "CNWH")}),
}


def make_case(name: str, dtype: str = "float64"):
    shape, kernels, window, given = CASES[name]
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC} | given
    high, wide = window if isinstance(window, tuple) else (window, window)
    rng = np.random.default_rng(0)
    inputs = shape[-1] // options.get("feature_group_count", 1)
    x, w, b = (
        rng.normal(size=size).astype(dtype)
        for size in (shape, (high, wide, inputs, kernels), (kernels,))
    )
    maps, filters, out = options["dimension_numbers"]
    x = np.transpose(x, ["NHWC".index(axis) for axis in maps])
    w = np.transpose(w, ["HWIO".index(axis) for axis in filters])
    b = np.expand_dims(b, [place for place, axis in enumerate(out) if axis != "C"])

    def apply(params, x):
        return jnp.sin(jax.lax.conv_general_dilated(x, params[0], **options) + params[1])

    return apply, (w, b), x


def gradients(apply, params, x):
    return jax.jit(jax.value_and_grad(lambda p, x: (apply(p, x) ** 2).sum(), (0, 1)))(params, x)


def assert_close(actual, expected, tolerance):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


TWOS = ("same, odd sizes", "valid", "negative padding", "maps smaller than the window", "groups")
# Tiles of 4x4 run through the same code as those of 2x2, and take longer to compile.
FOURS = ("uneven padding",)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(name, "auto") for name in CASES]
    + [(name, "winograd2") for name in TWOS]
    + [(name, "winograd") for name in FOURS],
)
def test_values_and_gradients_are_those_of_xla(name, algorithm):
    with jax.enable_x64(True):
        apply, params, x = make_case(name)
        expected = gradients(apply, params, x)
        actual = gradients(fast_convolutions(apply, algorithm=algorithm), params, x)
        assert_close(actual, expected, 1e-11)


@pytest.mark.parametrize("algorithm", ["direct", "matmul"])
def test_other_algorithms(algorithm):
    with jax.enable_x64(True):
        for name in ("same, odd sizes", "1x1, strides", "groups", "stem"):
            apply, params, x = make_case(name)
            actual = gradients(fast_convolutions(apply, algorithm=algorithm), params, x)
            assert_close(actual, gradients(apply, params, x), 1e-11)


def scanned(apply):
    def outer(params, x):
        return jax.lax.scan(lambda c, _: (c + apply(params, x).mean(), None), 0.0, None, length=3)[
            0
        ]

    return outer


WRAPS = {
    "jit": jax.jit,
    "remat": jax.checkpoint,
    "scan": scanned,
    "cond": lambda f: lambda p, x: jax.lax.cond(x.sum() > -9e9, f, lambda p, x: 0 * f(p, x), p, x),
    "vmap": lambda f: lambda p, x: jax.vmap(f, (None, 0))(p, x[:, None]),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_inside_other_transformations(wrap):
    with jax.enable_x64(True):
        apply, params, x = make_case("same, odd sizes")
        wrapped = WRAPS[wrap](apply)
        fast = fast_convolutions(wrapped, algorithm="winograd2")
        assert "conv_general_dilated" not in str(jax.make_jaxpr(fast)(params, x))
        assert_close(gradients(fast, params, x), gradients(wrapped, params, x), 1e-11)


def test_vmap_around_and_gradient_of_gradient():
    with jax.enable_x64(True):
        apply, params, x = make_case("same, odd sizes")
        fast = fast_convolutions(apply, algorithm="winograd2")

        def around(f):
            return lambda p, x: jax.vmap(f, (None, 0))(p, x[:, None])

        assert_close(gradients(around(fast), params, x), gradients(around(apply), params, x), 1e-11)

        def slope(f):
            return lambda p, x: jax.grad(lambda x: (f(p, x) ** 2).sum())(x)

        assert_close(gradients(slope(fast), params, x), gradients(slope(apply), params, x), 1e-10)


def count(body, name):
    """How many equations of this primitive there are, however deep."""
    return sum(
        (equation.primitive.name == name) + sum(count(inner, name) for inner in bodies(equation))
        for equation in body.jaxpr.eqns
    )


@pytest.mark.parametrize("wrap", ["jit", "scan"])
def test_stage_transforms_the_filters_once(wrap):
    with jax.enable_x64(True):
        apply, params, x = make_case("same, odd sizes")
        wrapped = WRAPS[wrap](apply)
        fast = fast_convolutions(wrapped, algorithm="winograd")
        prepared, staged = stage(fast, params, x)
        # Filters are transformed by matrix products; only the 36 of either direction are left.
        assert len([one for one in prepared if one.ndim == 2]) == 72
        gradient = lambda f: lambda p, x: jax.grad(lambda x: f(p, x).sum())(x)  # noqa: E731
        assert count(trace(gradient(staged), (prepared, x), {}).body, "dot_general") == 72
        assert count(trace(gradient(fast), (params, x), {}).body, "dot_general") > 72
        assert_close(staged(prepared, x), wrapped(params, x), 1e-11)


def test_export():
    apply, params, x = make_case("same, odd sizes", "float32")
    fast = fast_convolutions(apply, algorithm="winograd")
    exported = jax.export.export(jax.jit(fast))(params, x)
    assert_close(exported.call(params, x), apply(params, x), 1e-4)


def test_taps_survive():
    apply, params, x = make_case("same, odd sizes", "float32")
    fast = fast_convolutions(lambda p, x: tap(apply(p, x), "maps").sum(), algorithm="winograd")
    assert_close(capture(fast, ["maps"])(params, x)["maps"], apply(params, x), 1e-4)


@pytest.mark.parametrize(("algorithm", "bound"), [("winograd", 5e-5), ("winograd2", 5e-6)])
def test_error_in_float32(algorithm, bound):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 16, 16, 256))
    w = rng.normal(size=(3, 3, 256, 64))

    def conv(w, x):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)

    with jax.enable_x64(True):
        expected = np.asarray(conv(w, x))
    fast = fast_convolutions(conv, algorithm=algorithm)
    assert_close(fast(w.astype("float32"), x.astype("float32")), expected, bound)


def test_auto_uses_winograd_for_deep_layers_alone():
    deep = Geometry(4, (28, 28), 512, 512, (3, 3), (1, 1), ((1, 1), (1, 1)), 1)
    assert choose(deep, "auto").forward == "winograd"
    assert choose(deep._replace(channels=3), "auto").forward == "direct"
    assert choose(deep._replace(strides=(2, 2)), "auto").backward == "xla"
    assert choose(deep._replace(strides=(2, 2)), "direct").backward == "phases"


def test_auto_leaves_other_backends_alone(monkeypatch):
    apply, params, x = make_case("strides", "float32")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    fast = fast_convolutions(apply)
    assert str(jax.make_jaxpr(fast)(params, x)) == str(jax.make_jaxpr(apply)(params, x))


def test_unknown_algorithm():
    with pytest.raises(TransformError, match="winograd"):
        fast_convolutions(jnp.sin, algorithm="vinograd")
    assert "auto" in ALGORITHMS


@pytest.mark.parametrize("precision", ["highest", "high", "default", None])
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_products_keep_the_precision_of_the_convolution(precision, algorithm):
    """In both directions; the derivative is traced after the function, and elsewhere."""

    def one(weights, x):
        with jax.default_matmul_precision(precision):
            return jax.lax.conv_general_dilated(
                x, weights, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

    weights, x = jnp.ones((3, 3, 4, 5)), jnp.ones((1, 8, 8, 4))
    fast = fast_convolutions(one, algorithm=algorithm)
    gradient = jax.jit(jax.grad(lambda x: (fast(weights, x) ** 2).sum()))
    text = gradient.lower(x).as_text()
    found = [
        re.findall("HIGHEST|HIGH|DEFAULT", line) or ["DEFAULT"]
        for line in text.splitlines()
        if "stablehlo.dot_general" in line or "stablehlo.convolution" in line
    ]
    assert len(found) >= 2
    wanted = (precision or "default").upper()
    # The filters themselves are always transformed at the highest precision: it is done once.
    allowed = {wanted, "HIGHEST"} if algorithm == "winograd" else {wanted}
    assert {word for words in found for word in words} <= allowed
    assert wanted in {word for words in found for word in words}
