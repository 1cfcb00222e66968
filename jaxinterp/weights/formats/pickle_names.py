"""What a pickle may name, and what is built for it: a table that leads to functions of ours.

No name leads to the thing whose name it is. `torch._utils._rebuild_tensor_v2` leads to a function
that notes storage, offset, shape and strides; `numpy.dtype` to one that knows a dozen types by
name. What the table does not hold is refused by its name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxinterp.weights.formats.torch_tensors import (
    DTYPES,
    STORAGES,
    Storage,
    StorageType,
    Tensor,
    is_shape,
)
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["Attributes", "Name", "NumpyArray", "NumpyType", "check_key", "find_name"]


@dataclasses.dataclass(frozen=True, eq=False)
class Name:
    """A name that a pickle may call, and the function that is called in its place."""

    text: str
    function: Callable[..., Any]

    def build(self, *arguments: Any) -> Any:
        """What the function makes of the arguments.

        Raises:
          Unreadable: they are too few, too many, or not what the name takes.
        """
        try:
            return self.function(*arguments)
        except (TypeError, ValueError):
            raise Unreadable(
                f"is damaged: its pickle gives {self.text} what it does not take"
            ) from None


class Attributes(dict[str, Any]):
    """What stands for an `argparse.Namespace`: its attributes, set after it is made."""


class NumpyType:
    """What stands for a `numpy.dtype`: its byte order is set after it is made."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if type(code) is not str or not re.fullmatch("f[248]|[iu][1248]|b1", code):
            raise Unreadable(f"holds a NumPy array of the type {quoted(code)}, which is not read")
        self.dtype = np.dtype(code)

    def set_state(self, version: Any, order: Any, *rest: Any) -> None:
        """The state that NumPy gives to its types; of plain numbers, only the order matters."""
        order = order if type(order) is str else None
        if order == ">":
            self.dtype = self.dtype.newbyteorder(">")
        elif order not in ("<", "|"):
            raise ValueError


class NumpyArray:
    """What stands for a `numpy.ndarray`: its content is set after it is made.

    Attributes:
      array: read-only; None before it is set.
    """

    def __init__(self, *made_as: Any) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, version: Any, shape: Any, kind: Any, fortran: Any, content: Any) -> None:
        """The state that NumPy gives to its arrays."""
        if not is_shape(shape) or type(kind) is not NumpyType:
            raise ValueError
        content = _as_bytes(content)
        if len(content) != math.prod(shape) * kind.dtype.itemsize or type(fortran) is not bool:
            raise ValueError
        values = np.ndarray(shape, kind.dtype, content, order="F" if fortran else "C")
        self.array = values.astype(kind.dtype.newbyteorder("="), copy=False)
        self.array.flags.writeable = False


def check_key(key: Any) -> None:
    """Keys of dicts and members of sets are plain: others can be made to collide by the million.

    Raises:
      Unreadable: a tuple, an object, an integer of more than 63 bits.
    """
    plain = key is None or type(key) in (str, bytes, bool, float)
    if not plain and not (type(key) is int and abs(key) < 2**63):
        raise Unreadable(f"has a pickle with a {type(key).__name__} as key of a dict")


def find_name(text: str) -> Any:
    """What stands for a name in a pickle: a `Name`, a `StorageType` or a dtype.

    Raises:
      Unreadable: the table does not hold it; the message names it.
    """
    if text in _TABLE:
        return _TABLE[text]
    last = text.rpartition(".")[2]
    for word, what in _OTHER_TENSORS.items():
        if text.startswith("torch.") and word in last:
            raise Unreadable(f"holds {what} tensors ({_shown(text)}), which are not read")
    if text.startswith(_MODELS):
        raise Unreadable(
            f"holds a whole pickled model (an object of {_shown(text)}), which is code, and not "
            "only its weights: in PyTorch, save `model.state_dict()` instead"
        )
    raise Unreadable(
        f"holds a call of {_shown(text)}, which was not run: only tensors and plain containers "
        "are read (in PyTorch, save `model.state_dict()` alone)"
    )


def _shown(text: str) -> str:
    module, _, name = text.rpartition(".")
    module = {"posix": "os", "nt": "os", "__builtin__": "builtins"}.get(module, module)
    return quoted(f"{module}.{name}")[1:-1]


# What is built. Every function takes arguments that a pickle made up.


def _as_bytes(text: Any, encoding: Any = "utf-8") -> bytes:
    """Bytes as protocol 2 writes them, as text in Latin-1, or as they are."""
    if type(text) is bytes:
        return text
    if type(text) is not str or type(encoding) is not str:
        raise ValueError
    # An encoding is a name as well: Python looks for a module where it does not know it.
    return text.encode({"latin1": "latin1", "latin-1": "latin1"}.get(encoding, "utf-8"))


def _as_dict(items: Any = ()) -> dict[Any, Any]:
    made = {}
    for key, value in items.items() if type(items) is dict else items:
        check_key(key)
        made[key] = value
    return made


def _as_set(items: Any = ()) -> set[Any]:
    for item in items:
        check_key(item)
    return set(items)


def _as_shape(lengths: Any = ()) -> tuple[int, ...]:
    if not is_shape(lengths):
        raise ValueError
    return lengths


def _as_device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str:
        raise ValueError
    return f"{kind}:{index}" if type(index) is int else kind


def _as_scalar(kind: Any, content: Any) -> bool | int | float:
    """A scalar of NumPy, such as a measured accuracy."""
    content = _as_bytes(content)
    if type(kind) is not NumpyType or len(content) != kind.dtype.itemsize:
        raise ValueError
    return np.ndarray((), kind.dtype, content).item()


def _as_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    # The rest: whether a gradient is wanted, hooks, metadata.
    if type(storage) is not Storage:
        raise ValueError
    return Tensor(storage, storage.dtype, offset, shape, strides)


def _as_typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any, hooks: Any, dtype: Any,
    *rest: Any,
) -> Tensor:  # fmt: skip
    return Tensor(storage, dtype, offset, shape, strides)


def _as_parameter(data: Any, *rest: Any) -> Tensor:
    if type(data) is not Tensor:
        raise ValueError
    return data


def _as_other_class(function: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor with attributes of its own, which are left out."""
    if type(function) is not Name or type(arguments) is not tuple:
        raise ValueError
    if function.function is _as_other_class:  # of a class of its own, and so on without end
        raise ValueError
    return _as_parameter(function.build(*arguments))


def _table() -> dict[str, Any]:
    functions: dict[str, Callable[..., Any]] = {
        "_codecs.encode": _as_bytes,
        "argparse.Namespace": lambda: Attributes(),
        "collections.Counter": _as_dict,
        "collections.OrderedDict": _as_dict,
        "numpy.dtype": NumpyType,
        "numpy.ndarray": NumpyArray,
        "torch.Size": _as_shape,
        "torch.Tensor": _as_parameter,
        "torch._tensor._rebuild_from_type_v2": _as_other_class,
        "torch._utils._rebuild_parameter": _as_parameter,
        "torch._utils._rebuild_parameter_with_state": _as_parameter,
        "torch._utils._rebuild_tensor": _as_tensor,
        "torch._utils._rebuild_tensor_v2": _as_tensor,
        "torch._utils._rebuild_tensor_v3": _as_typed_tensor,
        "torch.device": _as_device,
        "torch.nn.parameter.Parameter": _as_parameter,
    }
    for module in ("builtins", "__builtin__"):
        functions[f"{module}.bytearray"] = _as_bytes
        functions[f"{module}.bytes"] = lambda: b""  # as protocol 2 writes empty ones
        functions[f"{module}.frozenset"] = _as_set
        functions[f"{module}.set"] = _as_set
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        functions[f"{module}._reconstruct"] = NumpyArray
        functions[f"{module}.scalar"] = _as_scalar
    table: dict[str, Any] = {name: Name(name, build) for name, build in functions.items()}
    table |= {f"torch.{name}": dtype for name, dtype in DTYPES.items()}
    for name, dtype in STORAGES.items():
        modules = ("torch.storage",) if name == "UntypedStorage" else ("torch", "torch.cuda")
        table |= {f"{module}.{name}": StorageType(DTYPES[dtype]) for module in modules}
    return table


_TABLE = _table()

# Words in the names of what PyTorch has besides plain tensors.
_OTHER_TENSORS = {
    "sparse": "sparse",
    "Sparse": "sparse",
    "QInt": "quantised",
    "QUInt": "quantised",
    "qtensor": "quantised",
    "qint": "quantised",
    "quint": "quantised",
    "Complex": "complex",
    "complex": "complex",
    "float8": "8-bit floating-point",
    "nested": "nested",
    "meta_tensor": "empty (`meta`)",
}

# Where the classes of networks live, in libraries and in programs of one's own.
_MODELS = (
    "torch.nn.",
    "torchvision.",
    "timm.",
    "__main__.",
    "model.",
    "models.",
    "net.",
    "nets.",
    "network.",
    "networks.",
)
