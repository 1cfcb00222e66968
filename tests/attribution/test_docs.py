"""The examples of the page on attribution run, as one script."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "attribution.md"


def test_examples_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    names: dict = {}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), names)
    assert names["saliency"].shape == (2, 2, 32, 32, 3)
    assert names["features"].shape == (8, 2, 32, 32, 3)
    assert names["heat"].shape == (1, 2, 32, 32)
    assert set(names["own"].attributions) == set(names["layers"])
    change = np.abs(names["result"].score - names["result"].baseline_score)
    assert (names["error"] * change >= 0).all()
