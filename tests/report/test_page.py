"""The page of a run: what it says, and that nothing in it can run."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxinterp.errors import UserError
from jaxinterp.report import (
    JobView,
    MapView,
    ReportHead,
    Table,
    TableRow,
    kernel_figure,
    page,
    write_report,
)
from jaxinterp.report.pixels import number, to_bytes

HEAD = ReportHead("A run", "of a test", (("model", "vgg<16>"),), 'title = "a & b"\n')
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>/../\x00\udce9$x^{$\\alpha'
MakeJob = Callable[..., JobView]


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.raw = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.raw += data
        elif self._inside != "style":
            self.text.append(data)

    def of(self, tag: str, css_class: str | None = None) -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and (css_class is None or css_class in attributes.get("class", ""))
        ]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def written(folder: Path, *views: JobView, tables: tuple[Table, ...] = (), **options: Any) -> str:
    index = write_report(folder, HEAD, tables, iter(views), **options)
    assert index == folder / "index.html"
    return index.read_text(encoding="utf-8")


def decoded(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_the_page_asks_for_nothing_from_outside(job: MakeJob, tmp_path: Path):
    html = written(tmp_path, job(), job(kernel=4))
    elements = Elements(html)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#", "figures/")), (tag, target)
    assert not re.findall(r"url\((?!data:)", html)
    assert "@import" not in html
    policy = next(m["content"] for m in elements.of("meta") if "http-equiv" in m)
    digest = base64.b64encode(hashlib.sha256(elements.raw.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy  # otherwise the filters would not run


def test_the_page_shows_every_job_without_a_script(job: MakeJob, tmp_path: Path):
    views = [
        job(kernel=kernel, image=image, layer=layer)
        for layer in ("relu2_1", "relu1_1")
        for kernel in (5, 2)
        for image in ("astronaut", "coffee")
    ]
    html = written(tmp_path, *views, figures=0)
    elements = Elements(html)
    assert len(elements.of("details", "job")) == 8
    assert all("hidden" not in attributes for attributes in elements.of("details"))
    assert "hidden" in elements.of("div", "tools")[0]
    assert [a["data-kernel"] for a in elements.of("article")] == ["2", "5", "2", "5"]
    assert re.findall(r"<h3>(\S+)", html) == ["relu2_1", "relu1_1"]
    alts = [image["alt"] for image in elements.of("img")]
    assert all(alts)
    assert len(alts) == 8 * (1 + 6)
    assert "optimised input for kernel 2, coffee" in alts
    originals = elements.of("span", "original")
    assert originals[0]["aria-label"] == "original input, astronaut"
    assert len(re.findall(r"\.o\d+\{background", html)) == 1  # all eight share one original


def test_the_page_shows_scores_scale_and_details(job: MakeJob, tmp_path: Path):
    view = job(optimised=job().optimised * 4 - 1)
    html = written(tmp_path, view)
    words = Elements(html).words
    assert "ssim 0.912 mse_rest 0.0123" in words
    assert f"0 {number(view.maps[0].before.max())}" in words
    assert "correlation \N{EN DASH}" in words
    assert "of the optimised input's values are outside [0, 1]: clipped." in words
    assert "preserve" in words
    assert "job 0123456789abcdef" in words
    assert 'data-scores="0.91234 - 0.0123 "' in html
    (optimised,) = [i for i in Elements(html).of("img") if i["alt"].startswith("optimised")]
    np.testing.assert_array_equal(decoded(optimised["src"]), to_bytes(view.optimised))


def test_head_tables_and_configuration(job: MakeJob, tmp_path: Path):
    table = Table(
        "Scores & means",
        ("input", "ssim", "mse_rest"),
        (
            ("optimised", "0.90 ± 0.13", "12.1%"),
            TableRow(("blank <image>", "-0.02", "\N{EN DASH}"), reference=True),
        ),
        "Means over 12 jobs.",
    )
    html = written(tmp_path, job(), tables=(table,))
    assert "vgg&lt;16&gt;" in html
    assert "title = &#34;a &amp; b&#34;" in html
    assert "Scores &amp; means" in html
    assert '<tr class="reference"><td>blank &lt;image&gt;</td><td class="num">-0.02</td>' in html
    assert '<th scope="col">input</th><th scope="col" class="num">ssim</th>' in html
    assert "Means over 12 jobs." in html


def test_a_malicious_name_stays_a_name(job: MakeJob, tmp_path: Path):
    html = written(
        tmp_path,
        job(
            image=EVIL,
            layer=EVIL,
            job=EVIL,
            maps=(MapView(EVIL, np.ones((8, 8)), np.ones((8, 8)), True),) * 2,
            metrics={EVIL: 1.0},
            trace_terms=(EVIL, EVIL),
        ),
        tables=(Table(EVIL, (EVIL,), ((EVIL,),), EVIL),),
    )
    elements = Elements(html)
    assert len(elements.of("script")) == 1
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert "<script>alert" not in html
    assert '"><script>alert(1)</script>' in elements.words
    (figure,) = (tmp_path / "figures").iterdir()
    assert re.fullmatch(r"[\w.-]+_k3_[\w.-]+\.png", figure.name)


def test_silent_and_failed_jobs_are_counted_and_say_so(job: MakeJob, tmp_path: Path):
    nothing = np.full((32, 32, 3), np.nan)
    html = written(
        tmp_path,
        job(),
        job(kernel=4, status="silent", metrics={"ssim": None}),
        job(kernel=5, status="failed", optimised=nothing, metrics={"ssim": float("nan")}),
    )
    elements = Elements(html)
    assert "3 jobs: 1 done, 1 silent, 1 failed" in elements.words.replace(" ,", ",")
    assert [d["data-status"] for d in elements.of("details", "job")] == ["done", "silent", "failed"]
    assert [b["class"] for b in elements.of("span", "badge")] == ["badge silent", "badge failed"]
    assert html.count('class="trace"') == 2  # nothing was optimised for the silent one
    assert "The optimisation failed" in html


def test_a_page_without_jobs(tmp_path: Path):
    html = written(tmp_path)
    assert "There are no jobs to show." in html
    assert 'id="tools"' not in html


def test_figures_are_written_for_as_many_jobs_as_asked(job: MakeJob, tmp_path: Path):
    views = [job(kernel=kernel) for kernel in range(3)]
    html = written(tmp_path / "some", *views, figures=1)
    assert [f.name for f in (tmp_path / "some/figures").iterdir()] == ["relu2_1_k0_astronaut.png"]
    links = [a["href"] for a in Elements(html).of("a") if a["href"].startswith("figures/")]
    assert links == ["figures/relu2_1_k0_astronaut.png"]
    written(tmp_path / "all", *views)
    assert len(list((tmp_path / "all/figures").iterdir())) == 3
    figure = (tmp_path / "all/figures/relu2_1_k2_astronaut.png").read_bytes()
    assert figure == kernel_figure(views[2])
    with pytest.raises(ValueError, match="figures"):
        written(tmp_path / "none", figures=-1)


def test_names_that_become_alike_keep_their_own_files(job: MakeJob, tmp_path: Path):
    names = ("cats/1", "cats_1", "CATS_1", "\N{CJK UNIFIED IDEOGRAPH-732B}", "..")
    written(tmp_path, *(job(image=name, layer="layer3.5.conv1") for name in names))
    assert sorted(f.name for f in (tmp_path / "figures").iterdir()) == [
        "layer3.5.conv1_k3_CATS_1-3.png",
        "layer3.5.conv1_k3_cats_1-2.png",
        "layer3.5.conv1_k3_cats_1.png",
        "layer3.5.conv1_k3_unnamed-2.png",
        "layer3.5.conv1_k3_unnamed.png",
    ]


def test_beyond_the_limit_the_page_says_what_is_missing(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page, "MOST_JOBS", 2)
    views = [job(kernel=kernel) for kernel in range(4)]
    words = Elements(written(tmp_path, *views)).words
    assert "The first 2 of 4 jobs are shown here." in words
    assert "holds all of them" in words
    assert len(list((tmp_path / "figures").iterdir())) == 4
    html = written(tmp_path, *views, figures=3)
    assert len(Elements(html).of("details", "job")) == 2
    assert "holds the first 3" in Elements(html).words
    assert "are shown here" not in written(tmp_path, *views[:2])


def test_a_page_of_a_choice_of_jobs_counts_all(job: MakeJob, tmp_path: Path):
    counts = {"done": 3000, "silent": 40, "failed": 2}
    words = Elements(written(tmp_path, job(), figures=0, counts=counts)).words
    assert "3,042 jobs: 3,000 done, 40 silent, 2 failed" in words
    assert "A choice of 1 of 3,042 jobs is shown here, as many of each layer" in words
    whole = Elements(written(tmp_path, job(), counts={"done": 1, "silent": 0, "failed": 0})).words
    assert "shown here" not in whole


def test_a_page_appears_complete_or_not_at_all(job: MakeJob, tmp_path: Path):
    def failing() -> Iterator[JobView]:
        yield job()
        raise RuntimeError("the store ended")

    before = written(tmp_path, job())
    with pytest.raises(RuntimeError, match="the store ended"):
        write_report(tmp_path, HEAD, (), failing(), figures=0)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == before
    after = written(tmp_path, job(image="coffee"), figures=0)
    assert after != before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["figures", "index.html"]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"The report cannot be written to .*file"):
        write_report(tmp_path / "file", HEAD, (), ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "lost"}, "status must be"),
        ({"original": np.zeros((4, 4))}, r"original must be \[H, W, 3\]"),
        ({"optimised": np.zeros((4, 4, 1))}, r"optimised must be \[H, W, 3\]"),
        ({"trace_terms": ("one",)}, "trace must be"),
    ],
)
def test_views_are_checked_where_they_are_made(job: MakeJob, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        job(**changes)


def test_maps_and_tables_are_checked_where_they_are_made():
    with pytest.raises(ValueError, match=r"after must be \[h, w\]"):
        MapView("k", np.zeros((2, 2)), np.zeros(4), True)
    with pytest.raises(ValueError, match="has 2 columns, a row has 1"):
        Table("t", ("a", "b"), (("1",),))
