"""Configuration files: what is read, what is refused, and what is written."""

import dataclasses
import math
from typing import Literal

import pytest
from hypothesis import given, settings, strategies as st

from jaxinterp.config import build, load_config, read_toml, to_dict, to_toml
from jaxinterp.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Choice:
    random: int | None = None
    most: int | None = None

    def __post_init__(self):
        if self.random is not None and self.most is not None:
            raise ValueError("choose one of random and most")


@dataclasses.dataclass(frozen=True)
class Layer:
    name: str
    kernels: str | tuple[int, ...] | Choice = "all"


@dataclasses.dataclass(frozen=True)
class Optimiser:
    steps: int = 100
    rate: float = 0.5
    schedule: Literal["cosine", "constant"] = "cosine"


@dataclasses.dataclass(frozen=True)
class Method:
    optimiser: Optimiser = dataclasses.field(default_factory=Optimiser)
    betas: tuple[float, float] = (0.9, 0.99)


@dataclasses.dataclass(frozen=True)
class Config:
    output: str
    layers: tuple[Layer, ...] = ()
    method: Method = dataclasses.field(default_factory=Method)
    names: list[str] = dataclasses.field(default_factory=list)
    weights: str | None = None
    verbose: bool = False


TEXT = """
output = "runs/a"
names = ["x", "y"]
verbose = true

[[layers]]
name = "relu1"
kernels = [3, 4]

[[layers]]
name = "relu2"
kernels = { random = 5 }

[method]
betas = [1, 0.5]

[method.optimiser]
steps = 7
"""

EXPECTED = Config(
    output="runs/a",
    names=["x", "y"],
    verbose=True,
    layers=(Layer("relu1", (3, 4)), Layer("relu2", Choice(random=5))),
    method=Method(Optimiser(steps=7), (1.0, 0.5)),
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_file_becomes_the_dataclass(file):
    config = load_config(Config, file)
    assert config == EXPECTED
    assert type(config.method.betas[0]) is float  # a whole number where a number is due


UNKNOWN = [
    ({"outptu": "a"}, "'outptu'; nearest: output"),
    ({"OUTPUT": "a"}, "'OUTPUT'; nearest: output"),
    ({"method": {"betsa": [1, 2]}}, "'method.betsa'; nearest: method.betas"),
    ({"method": {"optimiser": {"step": 1}}}, "'method.optimiser.step'; nearest: .*optimiser.steps"),
    ({"layers": [{"name": "a"}, {"nam": "b"}]}, r"'layers\[1\].nam'; nearest: layers\[1\].name"),
    (
        {"layers": [{"name": "a", "kernels": {"randon": 3}}]},
        r"'layers\[0\].kernels.randon'; nearest: layers\[0\].kernels.random",
    ),
]


@pytest.mark.parametrize(("content", "message"), UNKNOWN)
def test_an_unknown_key_is_named_with_its_nearest(content, message):
    with pytest.raises(UserError, match=f"There is no key {message}"):
        build(Config, {"output": "a"} | content)


WRONG = [
    ({"output": 3}, "'output' must be text, got 3"),
    ({"output": True}, "'output' must be text, got True"),
    ({"output": ["a"]}, "'output' must be text"),
    ({"verbose": 1}, "'verbose' must be true or false, got 1"),
    ({"verbose": "true"}, "'verbose' must be true or false, got 'true'"),
    ({"weights": 1}, "'weights' must be text, got 1"),
    ({"names": "x"}, r"'names' must be a list \(each item text\), got 'x'"),
    ({"names": ["x", 1]}, r"'names\[1\]' must be text, got 1"),
    ({"method": 3}, "'method' is a table of keys, got 3"),
    ({"method": [{}]}, "'method' is a table of keys"),
    ({"layers": {"name": "a"}}, r"'layers' must be a list \(each item a table of keys\)"),
    ({"layers": ["relu1"]}, r"'layers\[0\]' is a table of keys, got 'relu1'"),
    ({"method": {"betas": [1.0]}}, r"'method.betas' must be \[a number, a number\], got \[1.0\]"),
    ({"method": {"betas": [1, 2, 3]}}, "'method.betas' must be"),
    ({"method": {"betas": [1, "2"]}}, r"'method.betas\[1\]' must be a number, got '2'"),
    ({"method": {"betas": 1}}, "'method.betas' must be"),
    ({"method": {"optimiser": {"steps": True}}}, "'method.optimiser.steps' must be a whole number"),
    ({"method": {"optimiser": {"steps": 1.0}}}, "steps' must be a whole number, got 1.0"),
    ({"method": {"optimiser": {"steps": "1"}}}, "steps' must be a whole number, got '1'"),
    ({"method": {"optimiser": {"rate": True}}}, "rate' must be a number, got True"),
    ({"method": {"optimiser": {"rate": "0.1"}}}, "rate' must be a number, got '0.1'"),
    (
        {"method": {"optimiser": {"schedule": "cosin"}}},
        "no value of 'method.optimiser.schedule' called 'cosin'; nearest: cosine",
    ),
    ({"method": {"optimiser": {"schedule": 1}}}, "called '1'; choose from: cosine, constant"),
    (
        {"layers": [{"name": "a", "kernels": 1.5}]},
        r"'layers\[0\].kernels' must be text or a list .* or a table of keys, got 1.5",
    ),
    ({"layers": [{"name": "a", "kernels": [1, "2"]}]}, r"'layers\[0\].kernels' must be text or"),
    ({"layers": [{"name": "a", "kernels": {"random": "2"}}]}, r"kernels.random' must be a whole"),
    ({"layers": [{}]}, r"The key 'layers\[0\].name' is missing"),
    (
        {"layers": [{"name": "a", "kernels": {"random": 1, "most": 2}}]},
        r"layers\[0\].kernels: choose one of random and most",
    ),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_a_wrong_value_is_named(content, message):
    with pytest.raises(UserError, match=message) as caught:
        build(Config, {"output": "a"} | content)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="The key 'output' is missing"):
        build(Config, {"verbose": True})


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [("1-3", "1-3"), ([], ()), ([1, 2], (1, 2)), ({}, Choice()), ({"most": 4}, Choice(most=4))],
)
def test_a_field_of_several_types_takes_each(kernels, expected):
    config = build(Config, {"output": "a", "layers": [{"name": "b", "kernels": kernels}]})
    assert config.layers == (Layer("b", expected),)


OVERRIDES = [
    ("output=runs/b", "output", "runs/b"),
    ('output="3"', "output", "3"),
    ("output = spaced ", "output", "spaced"),
    ("output=a=b", "output", "a=b"),
    ("output=", "output", ""),
    ("verbose=false", "verbose", False),
    ("method.optimiser.steps=9", "method.optimiser.steps", 9),
    ("method.optimiser.rate=2", "method.optimiser.rate", 2.0),
    ("method.optimiser.rate=1e-3", "method.optimiser.rate", 1e-3),
    ("method.optimiser.schedule=constant", "method.optimiser.schedule", "constant"),
    ("method.betas=[0.1, 0.2]", "method.betas", (0.1, 0.2)),
    ('names=["z"]', "names", ["z"]),
    ('layers=[{name="c", kernels=[1]}]', "layers", (Layer("c", (1,)),)),
    ("weights=random", "weights", "random"),
]


@pytest.mark.parametrize(("override", "key", "value"), OVERRIDES)
def test_an_override_changes_one_key(file, override, key, value):
    def changed(config, names):
        name, *rest = names
        new = changed(getattr(config, name), rest) if rest else value
        return dataclasses.replace(config, **{name: new})

    assert load_config(Config, file, [override]) == changed(EXPECTED, key.split("."))


def test_an_override_makes_the_table_it_is_in(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("output = 'a'", encoding="utf-8")
    config = load_config(Config, path, ["method.optimiser.steps=2", "method.optimiser.rate=0.25"])
    assert config.method.optimiser == Optimiser(2, 0.25)


def test_the_last_override_of_a_key_wins(file):
    assert load_config(Config, file, ["output=a", "output=b"]).output == "b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("output", "--set takes key=value, got 'output'"),
        ("=3", "--set takes key=value, got '=3'"),
        (" =3", "--set takes key=value"),
        ("", "--set takes key=value"),
        ("outptu=3", "no key 'outptu'; nearest: output"),
        ("method.optimiser.step=3", "'method.optimiser.step'; nearest: method.optimiser.steps"),
        ("output.deep=3", "--set output.deep: 'output' is a value, not a table"),
        ("layers.0.name=b", "--set layers.0.name: 'layers' is a list: it is given as a whole"),
        ("method.optimiser.steps=many", "steps' must be a whole number, got 'many'"),
        ("output=3", "'output' must be text, got 3"),
    ],
)
def test_a_malformed_override_is_named(file, override, message):
    with pytest.raises(UserError, match=message):
        load_config(Config, file, [override])


def test_a_missing_file_is_named_with_its_nearest(file):
    with pytest.raises(UserError, match=r"no config file '.*confg\.toml'; nearest: .*config\.toml"):
        read_toml(file.with_name("confg.toml"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no config file '.*absent/config\.toml'\.$"):
        read_toml(tmp_path / "absent" / "config.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"output = ", "is not valid TOML"), (b"\xff\xfe", "cannot be read"), (b"[a", "not valid")],
)
def test_a_broken_file_is_named(tmp_path, content, message):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"The config file .*broken\.toml .*{message}"):
        read_toml(path)


def test_a_folder_is_no_config_file(tmp_path):
    with pytest.raises(UserError, match=r"The config file .* cannot be read"):
        read_toml(tmp_path)


def test_none_is_left_out():
    content = to_dict(Config("a", layers=(Layer("b", Choice(most=2)),)))
    assert "weights" not in content
    assert content["layers"] == [{"name": "b", "kernels": {"most": 2}}]
    assert build(Config, content).weights is None


# What a user's file can hold: any text but halves of surrogate pairs, which UTF-8 cannot write.
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text('"\\\n\r\t\0\x1f\x7fé∑ #=[]')
floats = st.floats(allow_nan=False)
choices = st.builds(Choice, most=st.none() | st.integers())
layers = st.builds(Layer, name=texts, kernels=texts | st.lists(st.integers()).map(tuple) | choices)
optimisers = st.builds(
    Optimiser,
    steps=st.integers(),
    rate=floats,
    schedule=st.sampled_from(["cosine", "constant"]),
)
methods = st.builds(Method, optimiser=optimisers, betas=st.tuples(floats, floats))
configs = st.builds(
    Config,
    output=texts,
    layers=st.lists(layers, max_size=3).map(tuple),
    method=methods,
    names=st.lists(texts, max_size=3),
    weights=st.none() | texts,
    verbose=st.booleans(),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "written.toml"


@settings(max_examples=40)
@given(config=configs)
def test_what_is_written_is_read_back(scratch, config):
    scratch.write_text(to_toml(config), encoding="utf-8")
    assert load_config(Config, scratch) == config


@given(text=texts)
def test_every_text_is_written_on_one_line(text):
    lines = to_toml(Config(text)).split("\n")
    assert sum(line.startswith("output = ") for line in lines) == 1
    assert lines == to_toml(Config("")).replace('""', lines[0].removeprefix("output = ")).split(
        "\n"
    )


def test_numbers_that_are_not_finite_are_read_back(scratch):
    for rate in (math.inf, -math.inf, math.nan, -0.0, 5e-324, 1e308):
        config = Config("a", method=Method(Optimiser(rate=rate)))
        scratch.write_text(to_toml(config), encoding="utf-8")
        assert repr(load_config(Config, scratch).method.optimiser.rate) == repr(rate)


def test_nearest_offers_at_most_four_and_lists_at_most_twelve():
    choices = [f"layer{i}" for i in range(20)]
    assert nearest("layer1x", choices, kind="layer").count("layer") == 1 + 1 + 4
    assert nearest("???", choices, kind="layer").endswith("layer10, layer11 and 8 more.")
    assert nearest("a", [], kind="key") == "There is no key 'a'."
