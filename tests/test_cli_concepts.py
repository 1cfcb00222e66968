"""`jaxinterp concepts`, and a dissection by the command, as a user runs them."""

import pytest
from command_line import refused, runner

from jaxinterp.report.dissection_files import read_dissection


@pytest.fixture
def concepts(capfd):
    return runner(capfd, "concepts")


def test_a_rendered_set_is_checked(concepts, tmp_path):
    folder = tmp_path / "flowers"
    ended = concepts("render", folder, "--images", 12, "--size", 32, "--layout", "broden")
    assert (ended.code, ended.err) == (0, "")
    ended = concepts("check", folder)
    assert (ended.code, ended.err) == (0, "")
    assert "12 images" in ended.out
    assert "petals" in ended.out
    (folder / "category.csv").unlink()
    refused(concepts("check", folder), "category.csv")


def test_what_is_no_concept_data_is_refused(concepts, tmp_path):
    refused(concepts("check", tmp_path), "No concept data", "Broden")
    refused(concepts("check", tmp_path / "brodne"), "brodne")
    refused(concepts("render", tmp_path / "a", "--size", 8), "32")


def test_the_command_dissects(capfd, tmp_path):
    run = runner(capfd, "run")
    config = tmp_path / "small.toml"
    config.write_text(
        f"""
        method = "dissection"
        output = "{tmp_path / "run"}"
        size = 32
        layers = ["relu2"]
        examples = 1
        model = {{ name = "flower_single", weights = "random" }}
        concepts = [{{ source = "an8flower:single-6c:6:32" }}]
        """
    )
    ended = run(config)
    assert (ended.code, ended.err) == (0, "")
    assert "units.parquet" in ended.out
    assert read_dissection(tmp_path / "run").images == 6
    refused(run(config, "--processes", "2", "--process", "0"), "one process")
    refused(run(config, "--set", "dissection.mod=v1"), "dissection.mode")
    refused(runner(capfd, "status")(tmp_path / "run"), "dissection")
