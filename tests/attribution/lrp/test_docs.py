"""The examples of the page on LRP run, as one script."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "lrp.md"


def test_examples_run(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    names: dict = {}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), names)
    assert names["result"].layers["relu3_3"].shape == (2, 2, 8, 8, 128)
    boxed = names["explain_in_the_box"](names["network"].params, names["images"])
    assert boxed.images.shape == (1, 2, 32, 32, 3)
    printed = capsys.readouterr().out
    assert "'relu2_2'" in printed
    assert "'conv3_1'" not in printed
    assert "tanh" in printed
