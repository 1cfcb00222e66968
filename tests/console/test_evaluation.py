"""What an evaluation prints."""

import pytest

from jaxinterp.console.evaluation import EvaluationConsole
from jaxinterp.data.labelled import LabelledImages, SourceClass
from jaxinterp.evaluate.accuracy import ClassAccuracy, Share
from jaxinterp.evaluate.run import Evaluation
from jaxinterp.evaluate.stream import Geometry, Unreadable


def source(count=50_000, notes=()):
    def read(position):
        raise AssertionError("nothing is read to be printed")

    classes = tuple(SourceClass(name) for name in "abc")
    return LabelledImages(
        "class folders", "[/red] a folder", classes, count, read, "test", tuple(notes)
    )


def evaluation(classes, unreadable=0):
    return Evaluation(
        model="net",
        weights_sha256="12ab",
        kind="class folders",
        location="a folder",
        split=None,
        label_rule="classes are named as the network's",
        logits=1000,
        geometry=Geometry(256, 224),
        top1=Share(451, 600),
        top5=Share(600, 600),
        classes=tuple(
            ClassAccuracy(i, f"[b]class {i}", Share(one, 10), Share(five, 10))
            for i, (one, five) in enumerate(classes)
        ),
        unreadable=tuple(Unreadable(f"[i]/{i}.jpg", "torn") for i in range(unreadable)),
        seconds=12.0,
    )


def printed(capfd, found, **options):
    with EvaluationConsole() as console:
        console.close_with(found, **options)
    return capfd.readouterr().out


def test_plain_lines_tell_of_each_tenth(capfd):
    with EvaluationConsole() as console:
        console.opened(source(notes=["Mind the gap."]), None)
        for done in range(32, 50_000, 32):
            console.advanced(done)
        console.advanced(50_000)
    first, note, *lines = capfd.readouterr().out.splitlines()
    assert first == "[/red] a folder: class folders, split test, 50000 images, 3 classes"
    assert note == "Mind the gap."
    done = [int(line.split()[0]) for line in lines]
    assert len(done) == 9
    assert done == sorted(done)
    assert all(abs(found - 5000 * (i + 1)) < 32 * (i + 1) for i, found in enumerate(done))
    assert all(line.endswith(" images/s") for line in lines)


def test_a_limit_is_told(capfd):
    with EvaluationConsole() as console:
        console.opened(source(), 100)
        console.advanced(10)
        console.advanced(100)
    out = capfd.readouterr().out
    assert "100 of 50000 images" in out
    assert "10 of 100 images" in out


def test_accuracies_come_with_their_intervals(capfd):
    out = printed(capfd, evaluation([(1, 2)]), worst=20)
    assert "net, weights 12ab\n" in out
    # z = 1.96, n = 600: (p + z2/2n -+ z sqrt(p (1-p) / n + z2/4n2)) / (1 + z2/n).
    assert "top-1 75.17% (95 % interval 71.56% to 78.46%), top-5 100.00%" in out
    assert "(50.0 images/s, compilation included)" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("worst", "shown"), [(2, [3, 1]), (4, [3, 1, 2, 0]), (9, [3, 1, 2, 0])])
def test_the_worst_classes_come_first(capfd, worst, shown):
    out = printed(capfd, evaluation([(9, 9), (5, 7), (5, 8), (0, 1)]), worst=worst)
    rows = [line for line in out.splitlines() if line.startswith(" [b]class ")]
    assert [int(row.split("│")[1]) for row in rows] == shown
    assert ("worst of 4 classes" in out) == (worst < 4)


def test_no_table_where_none_is_wanted(capfd):
    assert "[b]class" not in printed(capfd, evaluation([(9, 9)]), worst=0)


@pytest.mark.parametrize(("failed", "named"), [(0, 0), (1, 1), (5, 5), (8, 5)])
def test_unreadable_images_are_counted_and_the_first_named(capfd, failed, named):
    out = printed(capfd, evaluation([(9, 9)], unreadable=failed), worst=20)
    assert (f"{failed} images could not be read" in out) == bool(failed)
    assert [f"  [i]/{i}.jpg: torn\n" in out for i in range(named + 1)] == [True] * named + [False]
    assert (f"and {failed - named} more" in out) == (failed > named)
