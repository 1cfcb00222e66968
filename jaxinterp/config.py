"""Configuration files: TOML into dataclasses, strictly.

Every key must be a field of the dataclass and every value must have the field's type: a misspelt
key or a string where a number belongs is an error that names the key and the nearest valid one.
Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from jaxinterp.errors import UserError, nearest

__all__ = ["build", "load_config", "read_content", "read_toml", "to_dict", "to_toml"]

T = TypeVar("T")


def load_config(kind: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Reads a TOML file into the dataclass `kind`, after `key=value` overrides.

    Args:
      kind: a dataclass; nested dataclasses are TOML tables.
      path: the file.
      overrides: such as `optimizer.steps=100`; the value is TOML, or else a plain string.

    Raises:
      UserError: a file that cannot be read, an unknown key, a value of the wrong type.
    """
    return build(kind, read_content(path, overrides))


def read_content(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A TOML file's content after `key=value` overrides; see `load_config`.

    Raises:
      UserError: a file that cannot be read, an override that is none.
    """
    content = read_toml(path)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise UserError(f"--set takes key=value, got {override!r}.")
        try:
            override.encode()
        except UnicodeEncodeError:  # the run folder's record could not hold it
            raise UserError(f"--set {override!r} holds bytes that are no UTF-8.") from None
        _assign(content, key.strip(), text.strip())
    return content


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
      UserError: if the file is missing or is not TOML; the nearest existing names are offered.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent else []
        raise UserError(nearest(str(path), siblings, kind="config file")) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The config file {path} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"The config file {path} is not valid TOML: {error}.") from None


def _assign(content: dict[str, Any], key: str, text: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if isinstance(content, list):
            raise UserError(f"--set {key}: {table!r} is a list: it is given as a whole.")
        if not isinstance(content, dict):
            raise UserError(f"--set {key}: {table!r} is a value, not a table of keys.")
    content[last] = value


def build(kind: type[T], content: Mapping[str, Any], where: str = "") -> T:
    """A dataclass from nested mappings, checked as described above.

    Raises:
      UserError: an unknown or missing key, a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in fields:
            raise UserError(nearest(where + key, [where + name for name in fields], kind="key"))
        values[key] = _convert(hints[key], value, where + key)
    for name, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not optional:
            raise UserError(f"The key {where + name!r} is missing.")
    try:
        return kind(**values)
    except UserError:
        raise
    except ValueError as error:  # a field's own check in __post_init__
        raise UserError(f"{where.rstrip('.') or 'config'}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        messages = []
        for option in arguments:
            try:
                return _convert(option, value, where)
            except UserError as error:
                messages.append((option, error))
        # A mapping meant for a dataclass: its own message (which key is wrong) is the useful one.
        for option, error in messages:
            if dataclasses.is_dataclass(option) and isinstance(value, dict):
                raise error
        raise _wrong_type(where, hint, value)
    if origin is Literal:
        if value in arguments:
            return value
        choices = [str(choice) for choice in arguments]
        raise UserError(nearest(str(value), choices, kind=f"value of {where!r} called"))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{where!r} is a table of keys, got {value!r}.")
        return build(hint, value, where + ".")  # type: ignore[arg-type]
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(where, hint, value)
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise _wrong_type(where, hint, value)
            inner = arguments
        else:
            inner = (arguments[0],) * len(value)
        items = [
            _convert(kind, item, f"{where}[{i}]")
            for i, (kind, item) in enumerate(zip(inner, value, strict=True))
        ]
        return tuple(items) if origin is tuple else items
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is type(None) and value is None:
        return None
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise _wrong_type(where, hint, value)


def _wrong_type(where: str, hint: Any, value: Any) -> UserError:
    return UserError(f"{where!r} must be {_describe(hint)}, got {value!r}.")


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if hint in names:
        return names[hint]
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments if option is not type(None))
    if origin in (tuple, list):
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return "[" + ", ".join(_describe(option) for option in arguments) + "]"
        return f"a list (each item {_describe(arguments[0])})"
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    return "a table of keys" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", "?")


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as nested dictionaries of TOML values; keys that are None are left out."""

    def convert(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
            return {name: convert(item) for name, item in items if item is not None}
        if isinstance(value, (list, tuple)):
            return [convert(item) for item in value]
        return value

    return convert(config)


def _escaped(character: str) -> str:
    """A character of a TOML string in double quotes, which holds no control character."""
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x20 or code == 0x7F else character


def to_toml(config: Any) -> str:
    """The dataclass as TOML text that `load_config` reads back to an equal one."""
    lines: list[str] = []

    def scalar(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return '"' + "".join(map(_escaped, value)) + '"'
        if isinstance(value, list):
            return "[" + ", ".join(scalar(item) for item in value) + "]"
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {scalar(v)}" for k, v in value.items()) + " }"
        return repr(value)

    def table(content: dict[str, Any], prefix: str) -> None:
        nested = {key: value for key, value in content.items() if isinstance(value, dict)}
        for key, value in content.items():
            if key not in nested:
                lines.append(f"{key} = {scalar(value)}")
        for key, value in nested.items():
            lines.extend(["", f"[{prefix}{key}]"])
            table(value, f"{prefix}{key}.")

    table(to_dict(config), "")
    return "\n".join(lines).strip() + "\n"
