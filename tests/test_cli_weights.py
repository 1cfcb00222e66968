"""`jaxinterp weights`, called as a user calls it, with a server on loopback for the web."""

import hashlib
import re

import numpy as np
import pytest
from command_line import refused, runner
from file_server import Answer, FileServer, serving
from flax import nnx
from safetensors.numpy import load_file, save, save_file

from jaxinterp.cli import main
from jaxinterp.console.weights import FetchConsole
from jaxinterp.errors import UserError
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.registry import ARCHITECTURES, Architecture
from jaxinterp.models.vgg import VGG
from jaxinterp.weights.catalogue import PUBLISHED, Published, default_weights
from jaxinterp.weights.checksum import Checksum
from jaxinterp.weights.download import DownloadListener, download
from jaxinterp.weights.fetch import fetch
from jaxinterp.weights.layout import to_torch_layout
from jaxinterp.weights.load import load


@pytest.fixture
def call(capfd, monkeypatch):
    """Runs `jaxinterp weights`; returns its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capfd, "weights")


def construct(classes):
    return VGG(((4,), (6,)), batch_norm=True, classes=classes, hidden=(8,), grid=2)


TINY = Architecture("tiny", construct, 5, CIFAR10, "")


def torch_arrays(classes=5, seed=0):
    """Weights of the tiny network as PyTorch has them."""
    params = initial_parameters(Blueprint(lambda: TINY.build(classes)), seed=seed)
    flattened = nnx.eval_shape(lambda: TINY.build(classes)).flattened
    return to_torch_layout(params, flattened=flattened)


CONTENT = save(torch_arrays())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache folder."""
    path = tmp_path / "cache"
    monkeypatch.setenv("JAXINTERP_CACHE", str(path))
    monkeypatch.delenv("JAXINTERP_WEIGHTS_URL", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def server(monkeypatch):
    """Publishes weights of a tiny network."""
    with serving(FileServer(CONTENT)) as running:
        checksum = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest()[:8])
        file = f"tiny-{checksum.digits}.safetensors"
        url = f"{running.url}/models/{file}"
        published = Published(url, checksum, 0.5, 61.25, "ourselves", "CC0")
        kept = dict(ARCHITECTURES)
        for name in ARCHITECTURES.keys() - {"vgg_cifar10", "vgg16", "mnist"}:
            monkeypatch.delitem(ARCHITECTURES, name)  # describing them all takes seconds
        monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
        monkeypatch.setitem(PUBLISHED, "tiny", published)
        yield running
        ARCHITECTURES.clear()  # `monkeypatch` would put the others back in another order
        ARCHITECTURES.update(kept)


def row(ended, name):
    """The cells of a network's line in the list."""
    (line,) = [line for line in ended.out.splitlines() if line.split()[:1] == [name]]
    return [cell.strip() for cell in line.split("│")]


def test_list_shows_every_network_and_the_cache_folder(call, folder):
    ended = call("list")
    assert ended.code == 0
    for name in ARCHITECTURES:
        cells = row(ended, name)
        assert re.fullmatch(r"\d+\.\d\d M", cells[1])
        if name in PUBLISHED:
            assert cells[2] == f"{PUBLISHED[name].top1:.2f}"
    assert row(ended, "vgg16")[1:6] == ["138.36 M", "71.59", "527.8", "-", "-"]
    assert row(ended, "vgg_cifar10")[4] == "bundled"
    assert f"cache folder: {folder}\n" in ended.out
    assert max(map(len, ended.out.partition("top-1 in percent")[0].splitlines())) <= 80
    assert not folder.exists()  # a list makes nothing


def test_fetch_verifies_converts_and_says_where(call, folder, server):
    assert row(call("list"), "tiny")[4:6] == ["-", "-"]
    ended = call("fetch", "tiny")
    assert (ended.code, ended.err) == (0, "")
    path = PUBLISHED["tiny"].path
    assert path.read_bytes() == CONTENT
    assert PUBLISHED["tiny"].url in ended.out
    assert re.search(rf"fetched and verified in .* s: {path} \(ourselves, licence CC0\)", ended.out)
    assert "tiny: converted in " in ended.out
    assert "\x1b" not in ended.out  # no terminal, no bar
    assert row(call("list"), "tiny")[4:6] == ["fetched", "1"]

    again = call("fetch", "tiny")
    assert again.out == f"tiny: is here already: {path} (ourselves, licence CC0)\n"
    assert len(server.requests) == 1


def test_a_broken_fetch_is_resumed_by_the_same_command(call, server):
    published = PUBLISHED["tiny"]
    server.answers = [Answer(most=len(CONTENT) // 2)]
    with pytest.raises(UserError, match="resumes it"):
        download(published.url, published.path, checksum=published.checksum, attempts=1)
    presence = row(call("list"), "tiny")[4]
    assert re.fullmatch(r"\d\.\d MiB of it", presence)
    assert default_weights("tiny") is None
    ended = call("fetch", "tiny")
    assert ended.code == 0
    assert "MiB of it are here" in ended.out
    assert server.sent == len(CONTENT)
    assert PUBLISHED["tiny"].path.read_bytes() == CONTENT


def test_fetch_from_a_mirror(call, server, monkeypatch):
    monkeypatch.setenv("JAXINTERP_WEIGHTS_URL", f"{server.url}/mirror/")
    assert call("fetch", "tiny").code == 0
    assert [path for path, _ in server.requests] == [f"/mirror/{PUBLISHED['tiny'].file_name}"]


def test_nothing_is_fetched_if_one_name_is_wrong(call, server):
    refused(call("fetch", "tiny", "vgg61"), "no model 'vgg61'", "nearest: ", "vgg16")
    refused(call("fetch", "tiny", "mnist"), "No weights are published for 'mnist'")
    refused(call("fetch", "vgg_cifar10"), "come with the package")
    refused(call("fetch"), "Name one network or more")
    assert server.requests == []


def test_fetch_tells_who_has_no_network_what_to_do(call, server, monkeypatch):
    server.shutdown()
    server.server_close()
    ended = call("fetch", "tiny")
    refused(ended, "cannot be reached (Connection refused)", "on another machine")
    assert f"put it at {PUBLISHED['tiny'].path}" in ended.err
    assert PUBLISHED["tiny"].url in ended.err
    # And having done so:
    PUBLISHED["tiny"].path.write_bytes(CONTENT)
    ended = call("fetch", "tiny")
    assert ended.code == 0
    assert "is here already" in ended.out
    assert "converted in" in ended.out


def test_what_lies_in_the_place_of_a_published_file_is_checked(server, folder, call):
    path = PUBLISHED["tiny"].path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    refused(call("fetch", "tiny"), f"{path} is not the published file", "remove it")
    assert server.requests == []
    path.unlink()
    assert fetch("tiny", listener=DownloadListener()) == path


@pytest.mark.filterwarnings("default")
def test_a_cache_that_cannot_be_written(call, folder, server, tmp_path):
    folder.write_bytes(b"a file")
    refused(call("fetch", "tiny"), "cannot be written", "JAXINTERP_CACHE")
    file = tmp_path / "mine.safetensors"
    file.write_bytes(CONTENT)
    ended = call("convert", file, "--model", "tiny")
    assert ended.code == 0
    assert f"{file} fits tiny: " in ended.out
    assert ended.err.startswith(
        f"jaxinterp: warning: The converted weights are not kept for the next start: {folder} "
    )
    assert ended.err.count("\n") == 1


def test_convert_fills_the_cache_and_writes_safetensors(call, server, tmp_path):
    file, output = tmp_path / "mine.safetensors", tmp_path / "out" / "w.safetensors"
    arrays = torch_arrays(classes=7, seed=3)
    save_file({f"module.{name}": value for name, value in arrays.items()}, file)
    refused(call("convert", file, "--model", "tiny"), "do not fit", "--classes 7")
    convert = ("convert", file, "--model", "tiny", "--classes", 7, "--output", output)
    ended = call(*convert)
    assert (ended.code, ended.err) == (0, "")
    assert re.search(
        r"mine.safetensors fits tiny: 16 arrays, 0\.00 M numbers, converted in", ended.out
    )
    assert f"written: {output}\n" in ended.out
    written = load_file(output)
    assert written.keys() == arrays.keys()
    for name, value in arrays.items():  # through our layout and back, the flattening included
        assert written[name].dtype == np.float32
        np.testing.assert_array_equal(written[name], value)
    assert row(call("list"), "tiny")[4:6] == ["-", "1"]
    assert "were converted before" in call(*convert).out
    assert call("verify", output, "--model", "tiny").code == 0


def test_convert_refuses(call, server, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(CONTENT)
    refused(call("convert", file, "--model", "tniy"), "no model 'tniy'; nearest: tiny")
    refused(call("convert", tmp_path / "absent", "--model", "tiny"), "no weights file")
    refused(call("convert", tmp_path, "--model", "tiny"), "is a folder")
    refused(call("convert", file, "--model", "vgg16"), "do not fit", "They fit tiny")
    refused(call("convert", file, "--model", "tiny", "--classes", 0), "--classes must be at least")
    convert = ("convert", file, "--model", "tiny", "--output")
    refused(call(*convert, file), "is the file itself")
    refused(call(*convert, tmp_path), "is a folder")
    refused(call(*convert, tmp_path / "mine.pth"), "ends in .safetensors, not", "mine.pth")
    refused(call("convert", tmp_path / "absent", *convert[2:], file), "no weights file")
    assert file.read_bytes() == CONTENT
    page = tmp_path / "page.pth"
    page.write_bytes(b"<!DOCTYPE html><html>404</html>")
    refused(call("convert", page, "--model", "tiny"), "page.pth")


def facts(ended):
    """What `verify` says, by its first word."""
    return dict(re.findall(r"^([a-z0-9 ]+): +(.*)$", ended.out, flags=re.MULTILINE))


def test_verify_finds_the_network(call, server, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(CONTENT)
    ended = call("verify", file)
    assert (ended.code, ended.err) == (0, "")
    found = facts(ended)
    arrays = torch_arrays()
    trained = sum(value.size for name, value in arrays.items() if "running" not in name)
    assert found["file"] == str(file)
    assert found["format"] == "safetensors"
    assert found["holds"] == f"16 arrays, {trained:,} parameters; float32 (16)"
    assert found["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert found["origin"] == "the published file of tiny"
    assert found["fits"] == "tiny with 5 classes"
    assert "not finite" not in found


def test_verify_finds_another_class_count_and_what_is_not_finite(call, server, tmp_path):
    file = tmp_path / "mine.safetensors"
    arrays = torch_arrays(classes=9)
    arrays["features.1.running_var"][:3] = np.nan
    arrays["classifier.3.bias"][0] = -np.inf
    arrays["features.0.bias"] = arrays["features.0.bias"].astype(np.float16)
    save_file(arrays, file, metadata={"note": "one line\nand another"})
    ended = call("verify", file)
    found = facts(ended)
    assert ended.code == 0
    assert found["origin"] == "not known"
    assert found["fits"] == "tiny with 9 classes"
    assert "float16 (1)" in found["holds"]
    assert found["says"] == "note = one line ..."
    assert found["not finite"] == "NaN or infinite values in classifier.3 (1), features.1 (3)"
    assert "negative" not in found
    assert call("verify", file, "--model", "tiny", "--classes", 9).code == 0
    assert call("verify", file, "--model", "tiny", "--classes", 5).code == 2
    assert call("verify", file, "--classes", 5).code == 2


def test_verify_tells_what_float32_cannot_hold_and_negative_variances(call, server, tmp_path):
    arrays = torch_arrays()
    arrays["classifier.3.bias"] = arrays["classifier.3.bias"].astype(np.float64)
    arrays["classifier.3.bias"][1] = 1e300
    arrays["features.1.running_var"][2] = -1
    save_file(arrays, tmp_path / "mine.safetensors")
    ended = call("verify", tmp_path / "mine.safetensors")
    assert (ended.code, ended.err) == (0, "")
    assert facts(ended)["not finite"] == "NaN or infinite values in classifier.3 (1)"
    assert facts(ended)["negative"] == "variances in features.1.running_var"


def test_the_home_folder_may_be_written_as_a_tilde(call, server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.safetensors").write_bytes(CONTENT)
    assert call("verify", "~/mine.safetensors").code == 0
    convert = ("convert", "~/mine.safetensors", "--model", "tiny", "--output")
    assert call(*convert, "~/copy.safetensors").code == 0
    assert (tmp_path / "copy.safetensors").is_file()
    refused(call(*convert, "~/mine.safetensors"), "is the file itself")
    refused(call("verify", "~nobody-at-all/mine.pth"), "no weights file ~nobody-at-all/mine.pth")
    loaded = load("tiny", weights="~/mine.safetensors")
    assert loaded.weights_sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_verify_shows_the_nearest_network_and_the_differences(call, server, tmp_path):
    file = tmp_path / "mine.safetensors"
    arrays = torch_arrays()
    arrays["features.0.weights"] = arrays.pop("features.0.weight")
    arrays["classifier.0.bias"] = np.zeros(9, np.float32)
    save_file(arrays, file)
    ended = call("verify", file)
    assert (ended.code, ended.err) == (2, "")
    found = facts(ended)
    assert (found["fits"], found["nearest"]) == ("no network", "tiny")
    assert "missing 1 (features.0.weight)" in ended.out
    assert "unexpected 1 (features.0.weights)" in ended.out
    assert "mis-shaped 1 (classifier.0.bias (9,) instead of (8,))" in ended.out

    ended = call("verify", file, "--model", "vgg16")
    assert ended.code == 2
    assert facts(ended)["fits"] == "not vgg16"
    assert "nearest" not in facts(ended)
    assert "do not fit the network" in ended.out


def test_verify_refuses_what_is_no_weights_file(call, server, tmp_path):
    page = tmp_path / "page.pth"
    page.write_bytes(b"<!DOCTYPE html><html>404</html>")
    refused(call("verify", page), "page.pth")
    refused(call("verify", tmp_path / "absent.pth"), "no weights file")
    refused(call("verify", page, "--model", "vgg61"), "no model 'vgg61'")
    refused(call("verify", page, "--classes", -1), "--classes must be at least 1")


def test_verify_of_nothing(call, server, tmp_path):
    file = tmp_path / "empty.safetensors"
    save_file({}, file)
    ended = call("verify", file)
    assert ended.code == 2
    assert "Traceback" not in ended.out + ended.err


def test_what_cannot_be_parsed(call):
    for arguments, word in [
        ((), "fetch"),
        (("ftech", "vgg16"), "fetch"),
        (("convert", "a.pth"), "--model"),
        (("convert", "--model", "vgg16"), "FILE"),
        (("verify", "a.pth", "--classes", "many"), "--classes"),
    ]:
        ended = call(*arguments)
        assert ended.code == 2
        assert word in ended.err
        assert "Traceback" not in ended.err + ended.out


def test_help_names_every_action(call):
    ended = call("--help")
    assert ended.code == 0
    for action in ("list", "fetch", "convert", "verify"):
        assert re.search(rf"\b{action}\b", ended.out)
        assert f"jaxinterp weights {action}" in call(action, "--help").out


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(UserError, match="no model 'vgg61'"):
        main(["weights", "fetch", "vgg61", "--debug"])


def test_progress_without_a_terminal_is_a_few_lines(capfd, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    with FetchConsole("[b]net[/b]") as console:
        console.started("http://host/[i]", 100 * 2**20, 20 * 2**20)
        for received in range(21, 101):
            clock[0] += 1.0
            console.advanced(received * 2**20)
        console.note("[/red]")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "[b]net[/b]: http://host/[i], 100.0 MiB, 20.0 MiB of it are here"
    assert lines[1:-1] == [f"[b]net[/b]: {percent}%, 1.0 MiB/s" for percent in range(30, 101, 10)]
    assert lines[-1] == "[b]net[/b]: [/red]"
