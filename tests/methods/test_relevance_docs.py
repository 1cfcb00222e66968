"""The examples of the page on class-specific relevance run, as one script."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "relevance.md"


def test_examples_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    names: dict = {}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), names)
    assert names["found"].units["relu3_3"].shape == (4, 128)
    assert names["sums"].mean()["relu3_3"].shape == (128, 10)
    assert len(names["rows"]) == 2
