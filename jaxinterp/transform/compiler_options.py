"""What networks are compiled with, so that XLA's defaults do not slow them down."""

from __future__ import annotations

import functools

import jax

__all__ = ["compiler_options"]

# By default XLA fuses whole passes through a network into one slow piece (BENCHMARKS, "Two traits
# of XLA's CPU backend").
_CPU_OPTIONS: dict[str, bool | str] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}


def compiler_options() -> dict[str, bool | str] | None:
    """For `jax.jit(..., compiler_options=...)` of a network on the default backend.

    Returns:
      The options; None where none is of use, or XLA does not know them.
    """
    return _checked_options(jax.default_backend())


@functools.cache
def _checked_options(backend: str) -> dict[str, bool | str] | None:
    if backend != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=_CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):  # of another version of XLA
            raise
        return None
    return _CPU_OPTIONS
