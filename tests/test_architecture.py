"""The rules of the rooms, read from the source with `ast`; CONTRIBUTING.md states them in words."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each pure room imports only the rooms before it. No pure room imports an edge.
PURE_ROOMS = [
    "errors",
    "transform",
    "models",
    "losses",
    "metrics",
    "attribution",
    "optimize",
    "methods",
]
EDGE_ROOMS = [
    *("config", "console", "weights", "data", "evaluate", "train", "sweep", "dissect", "report"),
    *("bench", "cli"),
]

# What reads and writes files, draws, prints, or talks to the outside.
EDGE_LIBRARIES = {
    *("PIL", "dm_pix", "jinja2", "matplotlib", "orbax", "pyarrow", "rich", "safetensors"),
    *("skimage", "tensorflow_datasets", "tensorstore", "tyro"),
    *("argparse", "importlib.resources", "io", "json", "logging", "os", "pathlib", "shutil"),
    *("socket", "subprocess", "tempfile", "tomllib", "urllib"),
}
# The library reads PyTorch's files without PyTorch, and TFDS data without TensorFlow.
FOREIGN_LIBRARIES = {"sklearn", "tensorflow", "torch", "torchvision"}
# Measurements compare with PyTorch: `bench` may import it when one needs it, and this package in it
# at the top.
TORCH_PACKAGE = "jaxinterp.bench.pytorch"

MOST_LINES = 400

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def source_files(root: Path) -> list[Path]:
    return sorted((root / "jaxinterp").rglob("*.py"))


def room_of(path: Path, root: Path) -> str:
    """The room a file belongs to; the package's own `__init__` is in room ''."""
    first = path.relative_to(root / "jaxinterp").parts[0]
    return first.removesuffix(".py").replace("__init__", "")


def imported_names(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that a file imports, and of what it reads from `jax`.

    `from a import b` gives `a.b`, whether b is a module or not; relative imports are resolved.
    """
    package = path.parent.relative_to(root).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("jax."):
            yield node.lineno, ast.unparse(node)


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def forbidden_imports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Every import in a file that breaks a rule, with the rule."""
    room = room_of(path, root)
    allowed = PURE_ROOMS[: PURE_ROOMS.index(room) + 1] if room in PURE_ROOMS else None
    for line, name in imported_names(path, root):
        if is_within(name, "jax._src"):
            yield line, f"{name}: nothing imports jax._src"
        if is_within(name, "jax.extend") and room != "transform":
            yield line, f"{name}: only transform imports jax.extend"
        if any(is_within(name, one) for one in FOREIGN_LIBRARIES - allowed_foreign(path, root)):
            yield line, f"{name}: the library works without it"
        if allowed is None:
            continue
        if any(is_within(name, library) for library in EDGE_LIBRARIES):
            yield line, f"{name}: input and output belong to the edges"
        if is_within(name, "jaxinterp") and name.split(".")[1:2] not in [[r] for r in allowed]:
            yield line, f"{name}: {room} imports only {', '.join(allowed)}"


def allowed_foreign(path: Path, root: Path) -> set[str]:
    """The foreign libraries that a file may import."""
    return {"torch"} if room_of(path, root) == "bench" else set()


def opened_files(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Every call of `open` or `print` in a pure room."""
    if room_of(path, root) not in PURE_ROOMS:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"open", "print"}:
            yield node.lineno, f"{ast.unparse(node)}: input and output belong to the edges"


def long_files(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MOST_LINES:
        yield lines, f"a file has at most {MOST_LINES} lines: split it by concept"


def strays(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    room = room_of(path, root)
    if room not in ["", *PURE_ROOMS, *EDGE_ROOMS]:
        yield 1, f"{room} is no room: name it in tests/test_architecture.py, pure or edge"


def undocumented_exports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Every public function and class that a room offers and that says nothing of itself."""
    if path.name != "__init__.py" or path.parents[1] != root / "jaxinterp":
        return
    for name in offered_names(path):
        definition = find_definition(name, path, root)
        if not name.startswith("_") and definition and ast.get_docstring(definition) is None:
            yield offered_names(path)[name].lineno, f"{name} has no docstring"


def offered_names(path: Path) -> dict[str, Definition | ast.ImportFrom]:
    """What a module defines or imports from others; an overloaded function by its last part."""
    offered = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, Definition):
            offered[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            offered |= {alias.asname or alias.name: node for alias in node.names}
    return offered


def find_definition(name: str, path: Path, root: Path) -> Definition | None:
    """The function or class of the package that a name stands for, through re-exports."""
    node = offered_names(path).get(name)
    if not isinstance(node, ast.ImportFrom):
        return node
    folder = path.parents[node.level - 1] if node.level else root
    module = folder.joinpath(*(node.module or "").split("."))
    module = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    if module == path:  # a package that offers a module of its own
        return None
    original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
    return find_definition(original, module, root) if module.is_file() else None


RULES = [forbidden_imports, opened_files, long_files, strays, undocumented_exports]


def violations(rule, root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{line}: {message}"
        for path in source_files(root)
        for line, message in rule(path, root)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule):
    assert source_files(ROOT)
    found = violations(rule, ROOT)
    assert not found, "\n".join(["", *found])


# A file, what it says, and a word of the complaint; None where there is nothing to complain about.
PLANTED = [
    ("losses/a.py", "from jaxinterp.transform import capture", None),
    ("losses/a.py", "from jaxinterp.losses.b import c", None),
    ("losses/a.py", "from jaxinterp import transform", None),
    ("losses/a.py", "from .b import c", None),
    ("losses/a.py", "from jaxinterp.metrics import ssim", "losses imports only"),
    ("losses/a.py", "def f():\n    import jaxinterp.methods.b", "losses imports only"),
    ("losses/a.py", "from ..metrics import ssim", "losses imports only"),
    ("losses/a.py", "from .. import metrics", "losses imports only"),
    ("losses/a.py", "import jaxinterp", "losses imports only"),
    ("losses/a.py", "from jaxinterp import capture", "losses imports only"),
    ("methods/a.py", "from jaxinterp.report import page", "methods imports only"),
    ("methods/a.py", "from PIL import Image", "belong to the edges"),
    ("methods/a.py", "import os.path", "belong to the edges"),
    ("methods/a.py", "from importlib import resources", "belong to the edges"),
    ("methods/a.py", "open('file')", "belong to the edges"),
    ("report/a.py", "from PIL import Image\nopen('file')", None),
    ("report/a.py", "import jaxinterp.methods", None),
    ("weights/a.py", "import torch.nn", "works without it"),
    ("data/a.py", "def f():\n    import tensorflow as tf", "works without it"),
    ("bench/a.py", "import torch.nn", None),
    ("bench/a.py", "import tensorflow", "works without it"),
    ("data/a.py", "import tensorflow_datasets", None),
    ("transform/a.py", "from jax.extend import core", None),
    ("models/a.py", "from jax.extend import core", "only transform"),
    ("models/a.py", "from jax import extend", "only transform"),
    ("cli.py", "import jax\njax.extend.core.Jaxpr", "only transform"),
    ("transform/a.py", "from jax._src import core", "jax._src"),
    ("transform/a.py", "import jax\njax._src.core", "jax._src"),
    ("report/a.py", "\n" * 400, None),
    ("report/a.py", "\n" * 401, "at most 400"),
    ("utilities.py", "", "no room"),
    ("models/__init__.py", "def f(): pass", "f has no docstring"),
    ("models/__init__.py", "def _f(): pass", None),
    ("models/__init__.py", "def f():\n    'Says what it is.'", None),
    ("models/__init__.py", "from jax import jit as jit", None),
    ("models/__init__.py", "from jaxinterp.models.b import silent as silent", "silent has no"),
    ("models/__init__.py", "from .d import silent", "silent has no"),
    ("models/__init__.py", "from jaxinterp.models import b as b", None),
    ("models/__init__.py", "from jaxinterp.models.b import spoken as spoken", None),
    ("models/__init__.py", "from jaxinterp.models.d import silent as loud", "loud has no"),
]


@pytest.mark.parametrize(("name", "source", "complaint"), PLANTED)
def test_rules_find_what_is_planted(tmp_path, name, source, complaint):
    bystanders = {
        "models/b.py": "class silent: pass\nclass spoken:\n    'Says what it is.'",
        "models/d/__init__.py": "from ..b import spoken as other, silent as silent",
    }
    for file, text in {**bystanders, name: source}.items():
        path = tmp_path / "jaxinterp" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = [violation for rule in RULES for violation in violations(rule, tmp_path)]
    assert bool(found) == (complaint is not None), found
    assert all(name in violation and complaint in violation for violation in found)


# Says on the last line which modules it was asked for, those that are not installed included.
RECORD_IMPORTS = """
import sys

class Recorder:
    asked = set()

    def find_spec(self, name, path=None, target=None):
        self.asked.add(name.partition(".")[0])

sys.meta_path.insert(0, Recorder())
try:
{}
finally:
    print()
    print(*Recorder.asked)
"""


def modules_asked_for(*statements: str) -> set[str]:
    """The top-level modules that statements import in a new process, or try to."""
    body = "".join(f"    {statement}\n" for statement in statements)
    command = [sys.executable, "-c", RECORD_IMPORTS.format(body)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_no_foreign_library():
    modules = [path.relative_to(ROOT).with_suffix("").parts for path in source_files(ROOT)]
    names = {".".join(parts).removesuffix(".__init__") for parts in modules}
    names = {name for name in names if not is_within(name, TORCH_PACKAGE)}
    asked = modules_asked_for(*(f"import {name}" for name in sorted(names)))
    assert "jaxinterp" in asked
    assert asked & FOREIGN_LIBRARIES == set()


def test_help_is_quick():
    # Importing JAX takes seconds: nobody who asks for help waits for it.
    asked = modules_asked_for(
        "import runpy",
        "sys.argv[1:] = ['--help']",
        "runpy.run_module('jaxinterp.cli', run_name='__main__', alter_sys=True)",
    )
    slow = {"jax", "jaxlib", "flax", "matplotlib", "tensorstore"}
    assert "jaxinterp" in asked
    assert asked & (FOREIGN_LIBRARIES | slow) == set()
