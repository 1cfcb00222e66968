"""Listing the operations that rules can be given to."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxinterp.transform.found import find_operations
from jaxinterp.transform.inline import inline
from jaxinterp.transform.program import trace
from jaxinterp.transform.with_rules import images_among

__all__ = ["ListedOperation", "list_operations"]


class ListedOperation(NamedTuple):
    """One operation of a function, as `with_rules` sees it.

    Attributes:
        kind: A key of `OPERATIONS`, or a primitive's name for what has no kind of its own.
        known: Whether `kind` is one of `OPERATIONS`; a composite's `others` is for the rest.
        taps: The names under which its output is tapped directly: keys of a composite's `layers`.
    """

    kind: str
    known: bool
    taps: tuple[str, ...]


def list_operations(
    fn: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    **kwargs: Any,
) -> list[ListedOperation]:
    """Lists, in the program's order, the operations that `with_rules` can give a rule to.

    Nothing is computed.

    Args:
        fn: The function.
        *args: Its arguments, as arrays or `jax.ShapeDtypeStruct`s.
        argnums: Which of them hold images, as `with_rules` takes it.
        **kwargs: Its keyword arguments, likewise.

    Example:
        >>> for operation in list_operations(apply, params, images):
        ...     print(operation.kind, *operation.taps)
    """
    program = inline(trace(fn, args, kwargs))
    known, rest = find_operations(program.body, images_among(args, kwargs, argnums))
    flagged = [(one, True) for one in known] + [(one, False) for one in rest]
    flagged.sort(key=lambda pair: pair[0].path)
    return [ListedOperation(one.kind, is_known, one.layers) for one, is_known in flagged]
