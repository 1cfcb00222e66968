"""The examples of the users' page run, as one script."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "transform.md"


def test_examples_run():
    text = PAGE.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 9
    script = compile("\n".join(blocks), str(PAGE), "exec")
    names: dict = {}
    exec(script, names)
    assert list(names["taps"](names["apply"], names["params"], names["images"])) == [
        "relu1",
        "logits",
    ]
