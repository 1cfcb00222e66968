"""The examples of the pages on dissection and ablation run, each page as one script."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["dissection.md", "ablation.md"])
def test_examples_run(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict = {}
    exec(compile("\n".join(blocks), page, "exec"), names)
    if page == "dissection.md":
        assert names["best"].iou.shape == (96, 3)
        assert names["dissection"].iou["relu1"].shape == (8, 2)
    else:
        assert names["matrix"].shape[0] == 3
        assert {row["which"] for row in names["summary"]} == {"most", "least", "random"}
