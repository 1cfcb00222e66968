"""Whether a function still does what it did: what it can see, as a key of a cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Generic, TypeVar

import jax

from jaxinterp.models.parameters import Blueprint

__all__ = ["Fingerprinted", "fingerprint"]

Value = TypeVar("Value")

# Of these the object itself is all that counts. JAX keeps what it compiled for the first function.
CONSTANT = (
    type,
    ModuleType,
    BuiltinFunctionType,
    Blueprint,
    jax.custom_jvp,
    jax.custom_vjp,
    type(jax.jit(lambda x: x)),
    type(jax.numpy.add),
)
PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))


def fingerprint(value: Any) -> Hashable:
    """A key that changes when what a function, or a description made of functions, does changes.

    A function is followed into the variables that it closes over, its defaults, and the globals
    of its own module that it names; other modules are taken for constant. Numbers, strings,
    containers and frozen dataclasses count by their contents.

    Args:
        value: A function, a frozen dataclass of functions, or anything they hold.

    Raises:
        TypeError: It holds something that may change unseen, such as a NumPy array or an object.
    """
    return _Reader().read(value)


class Fingerprinted(Generic[Value]):
    """A value that is equal to another one if their fingerprints are."""

    def __init__(self, value: Value, key: Hashable) -> None:
        self.value = value
        self.key = key

    @classmethod
    def of(cls, value: Value) -> Fingerprinted[Value] | None:
        """The value with its fingerprint; None if it has none."""
        try:
            return cls(value, fingerprint(value))
        except TypeError:
            return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprinted) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class _Reader:
    """Reads values, each function once."""

    def __init__(self) -> None:
        self.met: set[int] = set()

    def read(self, value: Any) -> Hashable:
        if isinstance(value, PLAIN):
            return type(value), repr(value)
        if isinstance(value, CONSTANT):
            return value
        if isinstance(value, MethodType):
            return MethodType, self.read(value.__func__), self.read(value.__self__)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, functools.partial):
            return functools.partial, *map(self.read, (value.func, value.args, value.keywords))
        if isinstance(value, Mapping):
            return type(value), *((self.read(key), self.read(one)) for key, one in value.items())
        if isinstance(value, (tuple, list)):
            return type(value), *map(self.read, value)
        if isinstance(value, frozenset):
            return frozenset, frozenset(map(self.read, value))
        if _is_frozen(value):
            names = [field.name for field in dataclasses.fields(value)]
            return type(value), *(self.read(getattr(value, name)) for name in names)
        raise TypeError(f"a {type(value).__name__} may change")

    def _function(self, function: FunctionType) -> Hashable:
        if id(function) in self.met:
            return function
        self.met.add(id(function))
        try:
            closed = [cell.cell_contents for cell in function.__closure__ or ()]
        except ValueError:
            raise TypeError("a variable has no value yet") from None
        seen: list[Any] = [*closed, function.__defaults__, function.__kwdefaults__]
        seen += [function.__globals__[name] for name in _globals(function)]
        return function, *(
            one if self._is_foreign(one, function) else self.read(one) for one in seen
        )

    @staticmethod
    def _is_foreign(value: Any, reader: FunctionType) -> bool:
        """Whether a value is a function of another module, without variables closed over."""
        return (
            isinstance(value, FunctionType)
            and value.__globals__ is not reader.__globals__
            and not value.__closure__
        )


def _globals(function: FunctionType) -> list[str]:
    names: dict[str, None] = {}

    def visit(code: CodeType) -> None:
        names.update(dict.fromkeys(code.co_names))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                visit(constant)

    visit(function.__code__)
    return [name for name in names if name in function.__globals__]


def _is_frozen(value: Any) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen
