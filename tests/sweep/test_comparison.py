"""A whole comparison on a small scale: what it writes, how it resumes, what it refuses."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorstore as ts
from skimage.metrics import structural_similarity

from jaxinterp.cli import main
from jaxinterp.config import load_config, to_toml
from jaxinterp.data.images import ImagesConfig, load_images
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import SuppressionSettings, layer_maps
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.registry import find_architecture
from jaxinterp.sweep.comparison.config import ComparisonConfig, VariantConfig
from jaxinterp.sweep.comparison.run import run_comparison
from jaxinterp.sweep.config import KernelChoice, LayerConfig, ModelConfig, RunConfig
from jaxinterp.sweep.run import Listener, run
from jaxinterp.weights.formats.safetensors_file import write_safetensors
from jaxinterp.weights.layout import to_torch_layout
from jaxinterp.weights.load import load

VARIANTS = (
    VariantConfig("guided_backprop"),
    VariantConfig("suppression", settings=SuppressionSettings(steps=3)),
    VariantConfig("suppression", "beta 1", SuppressionSettings(steps=3, beta=1.0)),
)
TABLED = 3 * 2 * 3  # kernels of both layers, images, variants


def config(output, **changes):
    settings = {
        "output": str(output),
        "layers": (
            LayerConfig("relu1_1", KernelChoice(random_active=2)),
            LayerConfig("relu2_1", (5,)),
        ),
        "images": ImagesConfig(size=16, pictures=("astronaut",), all_colours=True),
        "model": ModelConfig(weights="random"),
        "variants": VARIANTS,
        "lanes": 4,
        "pairs": ("relu2_1",),
        "pair_images": 1,
        "paper": "table1",
    }
    return ComparisonConfig(**(settings | changes))


class Batches(Listener):
    """Counts batches, and breaks off after so many."""

    def __init__(self, most=None):
        self.most, self.records, self.planned_with = most, [], None

    def planned(self, jobs, finished):
        self.planned_with = (jobs, finished)

    def batch(self, title):
        if self.most is not None and len(self.records) >= self.most:
            raise KeyboardInterrupt

    def finished(self, records):
        self.records.append(records)


def stored(folder):
    rows = pq.read_table(folder / "jobs.parquet").to_pylist()
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / "images.zarr")}}
    return rows, ts.open(spec, open=True).result().read().result()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    listener = Batches()
    return folder, run_comparison(config(folder), listener=listener), listener


def test_a_comparison_writes_all_that_it_promises(undisturbed):
    folder, result, listener = undisturbed
    rows, images = stored(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (pair,) = manifest["pairs"]
    others = {pair["first"], pair["second"]} - {5}
    assert listener.planned_with == (result.jobs, 0)
    assert result.jobs == len(rows) == TABLED + len(others) * len(VARIANTS)
    assert result.jobs == result.done + result.silent + result.failed
    assert sum(row["tabled"] for row in rows) == TABLED
    assert images.shape == (result.jobs, 16, 16, 3)
    assert np.isfinite(images).all()
    page = result.page.read_text(encoding="utf-8")
    figures = {path.name for path in (folder / "figures").iterdir()}
    kinds = {name.split("_")[0].split(".")[0] for name in figures}
    assert kinds == {"joint", "images", "layers", "pair", "solutions"}
    assert all(f'href="figures/{name}"' in page for name in figures)
    table = (folder / "table.md").read_text(encoding="utf-8")
    for text in ("Guided backprop", "beta 1", "blank image", "original", "0.21 ± 0.29"):
        assert text in page
        assert text in table


def test_the_measures_are_those_of_the_stored_inputs(undisturbed):
    """SSIM by scikit-image, errors by NumPy."""
    folder, _, _ = undisturbed
    rows, inputs = stored(folder)
    images, _ = load_images(config(folder).images)
    originals = {image.name: image.pixels for image in images}
    network = load("vgg_cifar10", weights="random")
    for row in rows:
        if row["layer"] != "relu1_1" or row["status"] != "done":
            continue
        maps = layer_maps(network, row["layer"])
        before, after = (
            np.asarray(maps(network.params, network.preprocess(pixels[None])))[0]
            for pixels in (originals[row["image"]], inputs[row["index"]])
        )
        kernel = row["kernel"]
        first, second = before[..., kernel], after[..., kernel]
        expected = structural_similarity(
            first,
            second,
            data_range=first.max(),
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        assert row["similarity"] == pytest.approx(expected, abs=1e-4)
        assert row["mse_selected"] == pytest.approx(np.mean((first - second) ** 2), rel=1e-3)
        rest = np.delete(after, kernel, axis=-1)
        assert row["mse_rest"] == pytest.approx(np.mean(rest**2), rel=1e-3)


def test_the_tables_are_means_over_the_tabled_jobs(undisturbed):
    folder, _, _ = undisturbed
    rows, _ = stored(folder)
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        table = {(line["layer"], line["input"]): line for line in csv.DictReader(file)}
    for layer in ("relu1_1", "relu2_1", "all layers"):
        for variant in VARIANTS:
            own = [
                row
                for row in rows
                if row["variant"] == variant.title
                and row["tabled"]
                and row["status"] == "done"
                and layer in (row["layer"], "all layers")
            ]
            line = table[layer, variant.title]
            assert int(line["jobs"]) == len(own) > 0
            for name in ("similarity", "mse_rest", "mse_selected"):
                values = [row[name] for row in own]
                assert float(line[f"{name}_mean"]) == pytest.approx(np.mean(values))
                assert float(line[f"{name}_std"]) == pytest.approx(np.std(values))
        # The references are counted once a pair of a kernel and an image, not once a variant.
        assert table[layer, "blank image"]["jobs"] == table[layer, "original"]["jobs"]
        assert float(table[layer, "original"]["similarity_mean"]) == 1
    assert table["relu2_1", "Guided backprop"]["paper_mse_rest"] == "1.51"
    assert table["all layers", "Guided backprop"]["paper_mse_rest"] == ""


def test_an_interrupted_comparison_ends_as_an_undisturbed_one(tmp_path, undisturbed):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_comparison(config(folder, figures=()), listener=Batches(most=2))
    # The last line is cut off by a crash: its job is done again, the one before it is not.
    journal = folder / "journal" / "0.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:25])
    rest = Batches()
    run_comparison(config(folder, figures=()), listener=rest)
    assert rest.planned_with == (undisturbed[1].jobs, len(lines) - 1)
    assert sum(map(len, rest.records)) == undisturbed[1].jobs - len(lines) + 1
    rows, images = stored(folder)
    expected_rows, expected_images = stored(undisturbed[0])
    assert rows == expected_rows
    np.testing.assert_array_equal(images, expected_images)
    again = Batches()
    run_comparison(config(folder, figures=("joint",), title="Another"), listener=again)
    assert again.records == []


@pytest.fixture
def silenced(tmp_path):
    """A weights file in which kernel 7 of the first layer never answers."""
    network = load("vgg_cifar10", weights="random")
    params = {name: np.array(value) for name, value in network.params.items()}
    params["features.1.weight"][7] = 0
    params["features.1.bias"][7] = 0
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, to_torch_layout(params, flattened={}))
    return ModelConfig(weights=str(path))


def test_silent_pairs_are_counted_and_left_out(tmp_path, silenced):
    own = config(
        tmp_path / "run",
        model=silenced,
        layers=(LayerConfig("relu1_1", (7, 8)),),
        variants=VARIANTS[:2],
        pairs=(),
        figures=("images",),
    )
    result = run_comparison(own)
    assert (result.done, result.silent, result.failed) == (4, 4, 0)
    (table,) = result.tables
    assert (table.pairs, table.silent) == (4, 2)
    assert [row.jobs for row in table.rows] == [2] * 4
    assert "2 of them silent" in (tmp_path / "run" / "table.md").read_text()


def test_too_few_active_kernels_are_counted(tmp_path, silenced):
    layers = (LayerConfig("relu1_1", KernelChoice(random_active=32)),)
    with pytest.raises(UserError, match="32 active kernels are asked of relu1_1, but only 31 of"):
        run_comparison(config(tmp_path / "run", model=silenced, layers=layers, pairs=()))
    fewer = (LayerConfig("relu1_1", KernelChoice(random_active=31)),)
    result = run_comparison(
        config(
            tmp_path / "run",
            model=silenced,
            layers=fewer,
            variants=VARIANTS[:1],
            pairs=(),
            figures=(),
        )
    )
    assert result.done == result.jobs == 31 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": VARIANTS[:1]}, "variants is"),
        ({"pairs": ()}, "pairs is"),
    ],
)
def test_another_config_is_refused_with_the_difference(undisturbed, change, message):
    with pytest.raises(UserError, match=message):
        run_comparison(config(undisturbed[0], **change))


def test_a_run_of_another_method_is_refused(undisturbed):
    own = config(undisturbed[0])
    other = RunConfig(str(undisturbed[0]), own.layers[1:], own.images, own.model)
    with pytest.raises(UserError, match="run of another method"):
        run(other)


def command(capsys, *arguments):
    """Exit code, stdout and stderr of the command."""
    code = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("method=comparsion", "no method 'comparsion'; nearest: comparison"),
        ("variants=[{method='guided_backprob'}]", "nearest: guided_backprop"),
        ("variants=[{method='lrp'}, {method='lrp'}]", "two variants have the title 'LRP'"),
        ("variants=[{method='lrp', settings={alpha=0.1}}]", "settings belong to suppression"),
        ("variants=[{method='suppression', settings={alfa=1}}]", "nearest"),
        ("variants=[]", "at least one of [[variants]]"),
        ("layers=[{name='relu1_1', kernels={random_active=33}}]", "33 kernels are asked of relu1"),
        ("layers=[{name='relu1_2'}]", "no layer 'relu1_2'; nearest: relu"),
        ("layers=[{name='relu1_1', kernels={random_active=0}}]", "at least 1"),
        ("pairs=['relu9']", "no layer 'relu9'"),
        ("pairs=['avgpool']", "has no feature maps"),
        ("figures=['joined']", "nearest: joint"),
        ("suppression.steps=3", "suppression"),
        ("images.size=4", "do not fit vgg_cifar10"),
        ("paper=table3", "'paper' must be 'table1' or 'table2'"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_2(tmp_path, capsys, setting, message):
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config(tmp_path / "run")))
    code, _, err = command(capsys, "run", str(file), "--set", setting)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_the_command_says_what_it_did(capsys, undisturbed, tmp_path):
    folder, result, _ = undisturbed
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config(folder)))
    code, out, _ = command(capsys, "run", str(file))
    assert code == 0
    assert f"{result.jobs} of them done before" in out
    for text in ("blank image", "beta 1", "paper's SSIM", str(folder / "table.md")):
        assert text in out.replace("\n", " ") or text in out


@pytest.mark.parametrize("name", ["table1", "table2", "figures", "resnet18", "vgg16"])
def test_the_configs_name_what_exists(name):
    path = Path(__file__).parents[2] / "configs" / f"suppression_{name}.toml"
    own = load_config(ComparisonConfig, path)
    architecture = find_architecture(own.model.name)
    layers = describe_classifier(architecture.blueprint(), architecture.preprocess)
    for layer in (*(layer.name for layer in own.layers), *own.pairs):
        assert layers.find(layer).is_map
    assert own.output == os.path.join("runs", path.stem)
    assert f"jaxinterp run configs/{path.name}" in path.read_text(encoding="utf-8")
