"""The cache of converted weights: never the wrong ones, and never in the way."""

import dataclasses
import errno
import json
import logging
import os
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxinterp.errors import UserError
from jaxinterp.models.preprocess import VGG_F, Preprocess
from jaxinterp.models.registry import ARCHITECTURES, Architecture
from jaxinterp.models.vgg import VGG
from jaxinterp.weights import cache, identity
from jaxinterp.weights.cache import (
    converted_weights,
    count_conversions,
    find_converted,
    store_converted,
)
from jaxinterp.weights.cache_folder import cache_folder
from jaxinterp.weights.catalogue import PUBLISHED, default_weights
from jaxinterp.weights.checksum import sha256_of
from jaxinterp.weights.convert import Converted
from jaxinterp.weights.identity import identify


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache folder, which does not exist yet."""
    path = tmp_path / "cache"
    monkeypatch.setenv("JAXINTERP_CACHE", str(path))
    return path


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"some weights")
    return path


def conversion(seed=0):
    random = np.random.default_rng(seed)
    params = {
        "features.0.weight": random.normal(size=(3, 3, 3, 8)).astype(np.float32),
        "features.0.bias": np.asarray([np.nan, np.inf, -0.0, 1e-45], np.float32),
        "scale": np.asarray(2.5, np.float32),
        "classifier.0.weight": random.normal(size=(8, 10)).astype(np.float32),
    }
    preprocess = dataclasses.replace(
        VGG_F, mean_image=random.random((4, 5, 3), dtype=np.float32), size=100
    )
    return Converted(params, preprocess, ("A layer is odd.", "“Ä”"))


def same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert isinstance(found[name], np.ndarray)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes(), name


def entries(folder):
    """The names of all conversions, unfinished ones included."""
    return sorted(os.listdir(folder / "converted")) if (folder / "converted").exists() else []


def test_what_is_stored_is_found_bit_for_bit(file, folder, capfd, caplog):
    converted = conversion()
    assert find_converted(identify(file), "vgg16", None) is None
    assert store_converted(identify(file), "vgg16", None, converted) is None
    found = find_converted(identify(file), "vgg16", None)
    assert found is not None
    assert found.from_cache
    same_bits(found.params, converted.params)
    assert found.preprocess == converted.preprocess
    assert isinstance(found.preprocess.mean, tuple)
    np.testing.assert_array_equal(found.preprocess.mean_image, converted.preprocess.mean_image)
    assert found.warnings == converted.warnings
    assert found.sha256 == sha256_of(file)
    (entry,) = entries(folder)
    assert entry == f"vgg16-1000-{found.sha256[:16]}-v{cache.CONVERTER_VERSION}"
    assert capfd.readouterr() == ("", "")  # Orbax is silent
    assert not caplog.records


def test_every_field_of_a_preprocess_is_kept(file):
    # A new field must not be dropped: all of them differ from their defaults here.
    preprocess = conversion().preprocess
    for field in dataclasses.fields(Preprocess):
        if field.default is not dataclasses.MISSING:
            assert getattr(preprocess, field.name) is not field.default
    store_converted(identify(file), "vgg16", None, conversion())
    found = find_converted(identify(file), "vgg16", None)
    for field in dataclasses.fields(Preprocess):
        expected = getattr(preprocess, field.name)
        np.testing.assert_array_equal(getattr(found.preprocess, field.name), expected)


def test_the_entry_is_of_one_file_one_network_one_class_count_and_one_converter(
    file, tmp_path, monkeypatch
):
    store_converted(identify(file), "vgg16", None, conversion())
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weight")
    assert find_converted(identify(file), "vgg16", 1000) is not None
    assert find_converted(identify(file), "vgg16", 7) is None
    assert find_converted(identify(file), "vgg19", None) is None
    assert find_converted(identify(other), "vgg16", None) is None
    other.write_bytes(file.read_bytes())  # the same content elsewhere is the same weights
    assert find_converted(identify(other), "vgg16", None) is not None
    monkeypatch.setattr(cache, "CONVERTER_VERSION", cache.CONVERTER_VERSION + 1)
    assert find_converted(identify(file), "vgg16", None) is None


def test_a_prefix_of_the_hash_is_not_taken_for_the_hash(file, folder):
    found = identify(file)
    store_converted(found, "vgg16", None, conversion())
    # Another file whose sha256 has the same first digits.
    twin = dataclasses.replace(found, sha256=found.sha256[:16] + "0" * 48)
    assert find_converted(twin, "vgg16", None) is None


def damaged(content):
    """A file's content, damaged in the ways that disks and crashes do it."""
    yield "missing", None
    yield "empty", b""
    yield "cut off", content[: len(content) // 2]
    yield "longer", content + b"0"
    for position in sorted({0, len(content) // 2, len(content) - 1}):
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        yield f"bit flipped at {position}", bytes(flipped)


def test_every_damage_to_every_file_is_noticed(file, folder, capfd):
    known = identify(file)
    store_converted(known, "vgg16", None, conversion())
    (entry,) = (folder / "converted").iterdir()
    backup = folder / "backup"
    shutil.copytree(entry, backup)
    paths = [path.relative_to(backup) for path in backup.rglob("*") if path.is_file()]
    assert len(paths) > 3
    for path in paths:
        for kind, content in damaged((backup / path).read_bytes()):
            shutil.copytree(backup, entry, dirs_exist_ok=True)
            (entry / path).unlink() if content is None else (entry / path).write_bytes(content)
            assert find_converted(known, "vgg16", None) is None, (path, kind)
            assert not entry.exists(), (path, kind)  # so that it is made anew
    assert capfd.readouterr() == ("", "")
    assert store_converted(known, "vgg16", None, conversion()) is None
    same_bits(find_converted(known, "vgg16", None).params, conversion().params)


@pytest.mark.parametrize("bit", [0, 31])
def test_one_flipped_bit_in_a_large_array_is_noticed(file, folder, bit):
    weight = np.ones((600, 1000), np.float32)  # 2.4 MB: no CRC is taken of its file
    converted = Converted({"classifier.0.weight": weight}, VGG_F)
    known = identify(file)
    store_converted(known, "vgg16", None, converted)
    (entry,) = (folder / "converted").iterdir()
    path = max((p for p in entry.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    assert len(content) >= weight.nbytes
    start = content.index(weight[0].tobytes())
    content[start + 4 * 300_000 + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    assert find_converted(known, "vgg16", None) is None
    assert not entry.exists()


def test_a_cache_that_is_a_file_is_a_warning(file, folder):
    folder.write_bytes(b"")
    known = identify(file)
    assert known.sha256 == sha256_of(file)
    assert find_converted(known, "vgg16", None) is None
    problem = store_converted(known, "vgg16", None, conversion())
    assert problem is not None
    assert problem == (
        f"The converted weights are not kept for the next start: {folder} cannot be written "
        "(Not a directory): name another cache folder in JAXINTERP_CACHE."
    )
    assert count_conversions() == {}
    assert default_weights("vgg16") is None


def test_a_full_disk_is_a_warning_and_leaves_nothing(file, folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "_write_record", full)
    problem = store_converted(identify(file), "vgg16", None, conversion())
    assert problem is not None
    assert f"{folder} cannot be written (No space left on device)" in problem
    assert entries(folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_a_warning(file, folder):
    folder.mkdir()
    folder.chmod(0o500)
    problem = store_converted(identify(file), "vgg16", None, conversion())
    folder.chmod(0o700)
    assert problem is not None
    assert "Permission denied" in problem


def test_a_file_that_changed_while_it_was_converted_is_not_kept(file, folder):
    before = identify(file)
    file.write_bytes(b"newer weight")
    problem = store_converted(before, "vgg16", None, conversion())
    assert problem is not None
    assert "changed while it was read" in problem
    file.unlink()
    assert "changed" in (store_converted(before, "vgg16", None, conversion()) or "")
    assert entries(folder) == []


def test_a_link_that_points_elsewhere_now_is_not_current(file, tmp_path):
    other, link = tmp_path / "other.pth", tmp_path / "link.pth"
    other.write_bytes(b"more")
    link.symlink_to(file)
    before = identify(link)
    assert before.is_current()
    assert before.sha256 == sha256_of(file)
    link.unlink()
    link.symlink_to(other)
    assert not before.is_current()
    assert identify(link).sha256 == sha256_of(other)


def test_many_writers_leave_one_entry(file, folder):
    known = identify(file)
    barrier = threading.Barrier(4)
    problems = []

    def write():
        barrier.wait()
        problems.append(store_converted(known, "vgg16", None, conversion()))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [None] * 4
    assert len(entries(folder)) == 1
    same_bits(find_converted(known, "vgg16", None).params, conversion().params)


def test_what_an_interrupted_writer_left_is_no_entry(file, folder):
    known = identify(file)
    store_converted(known, "vgg16", None, conversion())
    (entry,) = (folder / "converted").iterdir()
    entry.rename(entry.with_name(f".{entry.name}.0123"))
    assert find_converted(known, "vgg16", None) is None
    assert count_conversions() == {}
    assert store_converted(known, "vgg16", None, conversion()) is None
    assert count_conversions() == {"vgg16": 1}


# The identity of a file.


@pytest.fixture
def hashed(monkeypatch):
    """The files that were hashed, in order."""
    paths = []

    def count(path):
        paths.append(path)
        return sha256_of(path)

    monkeypatch.setattr(identity, "sha256_of", count)
    return paths


def test_a_settled_file_is_hashed_once(file, hashed, monkeypatch):
    monkeypatch.setattr(identity, "_SETTLED", 0)
    first = identify(file)
    assert identify(file) == first
    assert identify(str(file)).sha256 == first.sha256
    assert hashed == [file]


def test_a_file_that_was_just_written_is_hashed_every_time(file, hashed):
    # Within the resolution of the file system's clock it could change without a trace.
    identify(file)
    identify(file)
    assert hashed == [file, file]


def rewrite(path, content):
    path.write_bytes(content)


def rewrite_and_set_back(path, content):
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path, content):
    times = path.stat()
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize("change", [rewrite, rewrite_and_set_back, replace])
def test_a_changed_file_is_never_taken_for_the_old_one(file, hashed, monkeypatch, change):
    monkeypatch.setattr(identity, "_SETTLED", 0)
    store_converted(identify(file), "vgg16", None, conversion())
    before = identify(file)
    while os.stat(file).st_ctime_ns == before.stamp[2]:  # the clock of the file system has ticks
        change(file, b"nice weights")  # as long as before
    assert not before.is_current()
    assert identify(file).sha256 == sha256_of(file) != before.sha256
    assert find_converted(identify(file), "vgg16", None) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", b'{"path": 1, "stamp": [], "sha256": "0"}']
)
def test_a_damaged_note_is_made_anew(file, hashed, monkeypatch, folder, content):
    monkeypatch.setattr(identity, "_SETTLED", 0)
    expected = identify(file)
    (note,) = (folder / "hashes").iterdir()
    note.write_bytes(content)
    assert identify(file) == expected
    assert identify(file) == expected
    assert hashed == [file, file]


def test_a_note_with_no_hash_in_it_is_not_believed(file, hashed, monkeypatch, folder):
    monkeypatch.setattr(identity, "_SETTLED", 0)
    identify(file)
    (note,) = (folder / "hashes").iterdir()
    note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": "../" * 21 + "x"}))
    assert identify(file).sha256 == sha256_of(file)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"no weights file .*absent\.pth"):
        identify(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a folder"):
        identify(tmp_path)


# From a file to parameters.


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A tiny network and its weights in a file."""

    def construct(classes):
        return VGG(((4,),), batch_norm=True, classes=classes, hidden=(), grid=1)

    monkeypatch.setitem(ARCHITECTURES, "tiny", Architecture("tiny", construct, 5, VGG_F, ""))
    random = np.random.default_rng(0)
    shapes = {
        "features.0.weight": (4, 3, 3, 3),
        "features.0.bias": (4,),
        **{f"features.1.{name}": (4,) for name in ("weight", "bias")},
        **{f"features.1.running_{name}": (4,) for name in ("mean", "var")},
        "classifier.0.weight": (5, 4),
        "classifier.0.bias": (5,),
    }
    arrays = {name: random.random(shape, dtype=np.float32) for name, shape in shapes.items()}
    arrays["features.1.running_mean"][2] = np.nan
    path = tmp_path / "tiny.safetensors"
    save_file(arrays, path)  # ours does not write what is not finite
    return path


def test_the_second_start_converts_nothing(tiny, monkeypatch):
    first = converted_weights(tiny, "tiny")
    assert not first.from_cache

    def convert(*arguments):
        raise AssertionError("converted again")

    monkeypatch.setattr("jaxinterp.weights.convert.convert", convert)
    second = converted_weights(tiny, "tiny")
    assert second.from_cache
    same_bits(second.params, first.params)
    assert second.params["features.0.weight"].shape == (3, 3, 3, 4)
    assert second.preprocess == first.preprocess
    assert second.sha256 == first.sha256 == sha256_of(tiny)
    assert second.warnings == first.warnings  # what is wrong with a file is said every time
    assert "features.1" in first.warnings[0]
    with pytest.raises(AssertionError, match="converted again"):
        converted_weights(tiny, "tiny", 7)


def test_cached_arrays_are_taken_over_by_jax_without_a_copy(file):
    if jax.default_backend() != "cpu":
        pytest.skip("other devices have their own memory")
    weight = np.ones((600, 1000), np.float32)
    known = identify(file)
    store_converted(known, "vgg16", None, Converted({"classifier.0.weight": weight}, VGG_F))
    found = find_converted(known, "vgg16", None).params["classifier.0.weight"]
    taken = jnp.asarray(found, np.float32)
    assert taken.unsafe_buffer_pointer() == found.ctypes.data
    assert not taken.committed  # otherwise a sharded computation would refuse it
    np.testing.assert_array_equal(taken, weight)


def test_a_disk_without_room_is_noticed_before_orbax_prints_about_it(file, folder, monkeypatch):
    converted = conversion()
    needed = sum(value.nbytes for value in converted.params.values())
    usage = shutil.disk_usage(file)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    monkeypatch.setattr(cache, "_checkpointer", lambda: pytest.fail("Orbax is not asked"))
    problem = store_converted(identify(file), "vgg16", None, converted)
    assert problem is not None
    assert f"{folder} cannot be written (No space left on device)" in problem
    assert entries(folder) == []


def test_what_a_killed_process_left_is_removed_later(file, folder):
    converted = folder / "converted"
    old, new = (converted / f".vgg16-1000-0123-v1.{which}" for which in ("old", "new"))
    for path in (old, new):
        (path / "arrays").mkdir(parents=True)
        (path / "arrays" / "d").write_bytes(b"some arrays")
    past = time.time() - 7200
    os.utime(old, (past, past))
    assert store_converted(identify(file), "vgg16", None, conversion()) is None
    assert not old.exists()
    assert new.exists()  # another process may be writing it
    (entry,) = (path for path in converted.iterdir() if path != new)
    os.utime(entry, (past, past))
    assert store_converted(identify(file), "vgg16", 7, conversion()) is None
    assert entry.exists()  # what is finished stays, however old it is


def test_orbax_is_silent_after_an_interruption():
    logger = logging.getLogger("absl")
    before = logger.level
    try:
        with pytest.raises(RuntimeError), cache._checkpointer():
            raise RuntimeError
        assert logger.level == before
        with pytest.raises(KeyboardInterrupt), cache._checkpointer():
            raise KeyboardInterrupt
        assert not logger.isEnabledFor(logging.ERROR)  # its threads may go on for a while
    finally:
        logger.setLevel(before)


def test_without_a_cache_it_is_converted_every_time(tiny, folder):
    folder.write_bytes(b"")
    for _ in range(2):
        found = converted_weights(tiny, "tiny")
        assert not found.from_cache
        assert len(found.params) == 8
        assert "not kept for the next start" in found.warnings[-1]


def test_what_does_not_fit_is_not_kept(tiny, folder):
    with pytest.raises(UserError, match="do not fit"):
        converted_weights(tiny, "vgg_cifar10")
    with pytest.raises(UserError, match="no model 'tyni'"):
        converted_weights(tiny, "tyni")
    with pytest.raises(UserError, match="no weights file"):
        converted_weights(tiny.with_name("absent"), "tiny")
    assert entries(folder) == []


# The folder, and the published files in it.


@pytest.mark.parametrize(
    ("chosen", "shared", "expected"),
    [
        ("/a/b", "/c", "/a/b"),
        ("~/b", "/c", "/home/me/b"),
        ("", "/c", "/c/jaxinterp"),
        ("", "c", "/home/me/.cache/jaxinterp"),
        ("", "", "/home/me/.cache/jaxinterp"),
    ],
)
def test_where_the_cache_folder_is(monkeypatch, chosen, shared, expected):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("JAXINTERP_CACHE", chosen)
    monkeypatch.setenv("XDG_CACHE_HOME", shared)
    assert str(cache_folder()) == expected


def test_a_relative_cache_folder_is_of_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXINTERP_CACHE", "here")
    assert cache_folder() == tmp_path / "here"


def test_the_published_files(folder):
    assert PUBLISHED.keys() <= ARCHITECTURES.keys()
    for name, published in PUBLISHED.items():
        assert published.url.startswith("https://")
        assert published.path == folder / "fetched" / published.file_name
        digits = published.checksum.digits
        assert len(digits) == {"sha256": 8, "md5": 32}[published.checksum.algorithm]
        assert int(digits, 16) > 0
        assert digits in published.file_name or name == "vgg_f"
        assert published.top1 is None or 50 < published.top1 < 100
    assert len({published.file_name for published in PUBLISHED.values()}) == len(PUBLISHED)


def test_sizes_of_the_published_files_agree_with_the_parameters():
    """4 bytes each, 2 in the two files of half precision, and 1 % for names and statistics."""
    from jaxinterp.models.parameters import Blueprint

    for name, published in PUBLISHED.items():
        if published.source != "torchvision":
            continue
        shapes = Blueprint(ARCHITECTURES[name].build).shapes
        width = 2 if name.startswith("wide_resnet") else 4
        stated = published.mebibytes * 2**20
        assert stated == pytest.approx(width * sum(np.prod(s.shape) for s in shapes.values()), 0.01)


def test_default_weights_are_those_that_were_fetched(folder):
    assert default_weights("resnet18") is None
    assert default_weights("mnist") is None
    assert default_weights("no network") is None
    path = PUBLISHED["resnet18"].path
    path.parent.mkdir(parents=True)
    path.with_name(path.name + ".partial").write_bytes(b"not all of it")
    assert default_weights("resnet18") is None
    path.write_bytes(b"all of it")
    assert default_weights("resnet18") == path


def test_a_mirror_has_all_files_side_by_side(monkeypatch):
    monkeypatch.setenv("JAXINTERP_WEIGHTS_URL", "http://mirror/weights/")
    assert PUBLISHED["vgg16"].address == "http://mirror/weights/vgg16-397923af.pth"
    assert PUBLISHED["vgg_f"].address == "http://mirror/weights/imagenet-vgg-f.mat"
    monkeypatch.setenv("JAXINTERP_WEIGHTS_URL", "")
    assert PUBLISHED["vgg16"].address == PUBLISHED["vgg16"].url
