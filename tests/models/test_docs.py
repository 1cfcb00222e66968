"""The examples of the page on networks run, as one script, and print what it says."""

import re
from pathlib import Path

import pytest

from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.registry import find_architecture

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")


def test_examples_print_what_the_page_says(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    names: dict = {}
    for block in blocks:
        exec(compile(block, "networks.md", "exec"), names)
        said = re.findall(r"^# (.*)$", block, re.MULTILINE)
        assert said
        assert capsys.readouterr().out.splitlines() == said


MINDS_EYE = re.findall(r"^\| \d \| `(\w+)` \| `([\w.]+)` \| `([\w.]+)` \|$", PAGE, re.MULTILINE)


def test_the_table_of_the_minds_eye_is_read():
    assert len(MINDS_EYE) == 4


@pytest.mark.parametrize(("network", "theirs", "ours"), MINDS_EYE)
def test_names_of_the_minds_eye(network, theirs, ours):
    number, _, rest = theirs.removeprefix("layer").partition(".")
    assert ours == f"layer{int(number) - 3}.{rest}"
    architecture = find_architecture(network)
    table = describe_classifier(Blueprint(architecture.build), architecture.preprocess)
    assert table.find(ours).name == ours


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its head."""
    lines = PAGE.split(heading)[1].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [re.split(r" \| ", line.strip("| ")) for line in table[2:]]


CONVENTIONS = {
    "VGG": "vgg16_bn",
    "AlexNet": "alexnet",
    "ResNet": "resnet50",
    "CIFAR": "cifar_resnet20",
    "VGG-F": "vgg_f",
    "MNIST": "mnist",
}


@pytest.mark.parametrize("network", CONVENTIONS)
def test_every_name_in_the_table_of_names_exists(network):
    (cells,) = [
        one for one in rows("networks are called") if re.split("[ ,]", one[0])[0] == network
    ]
    architecture = find_architecture(CONVENTIONS[network])
    table = describe_classifier(Blueprint(architecture.build), architecture.preprocess)
    names = re.findall(r"`([\w.]+)`", " ".join(cells[1:]))
    absent = {"CIFAR": {"maxpool", "fc"}}.get(network, set())
    assert names
    for name in set(names) - absent:
        assert table.find(name)
