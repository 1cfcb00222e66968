"""The keys of an evaluation, and the configs that come with the project."""

import dataclasses
from pathlib import Path

import pytest

from jaxinterp.config import build, load_config
from jaxinterp.errors import UserError
from jaxinterp.evaluate.config import EvaluateConfig
from jaxinterp.models.registry import find_architecture

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["imagenette", "imagenet_v2"])
def test_the_configs_ask_for_a_set_that_tfds_knows(name):
    import tensorflow_datasets as tfds

    config = load_config(EvaluateConfig, CONFIGS / f"{name}.toml")
    assert find_architecture(config.model).classes == 1000
    set_name, _, config_name = config.images.removeprefix("tfds:").partition("/")
    assert set_name == name
    known = {own.name for own in tfds.builder_cls(set_name).BUILDER_CONFIGS}
    assert config_name in known
    # The split that each has beside the one to train on.
    assert config.split == {"imagenette": "validation", "imagenet_v2": "test"}[name]
    # What the header says to do is what the config needs.
    text = (CONFIGS / f"{name}.toml").read_text(encoding="utf-8")
    assert f"tfds build {set_name}/{config_name} --file_format=array_record" in text
    assert f"jaxinterp evaluate configs/{name}.toml" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch_size", 0), ("limit", 0), ("classes", 0), ("worst", -1)],
)
def test_numbers_out_of_range_are_named(key, value):
    with pytest.raises(UserError, match=f"{key} must be at least {value + 1}, got {value}"):
        build(EvaluateConfig, {"model": "vgg16", "images": "folder", key: value})


def test_every_key_is_an_option_of_the_command():
    from jaxinterp.cli.evaluate import Evaluate

    options = {field.name for field in dataclasses.fields(Evaluate)}
    assert options - {"config", "debug"} == {f.name for f in dataclasses.fields(EvaluateConfig)}
