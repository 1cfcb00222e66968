"""Ours and PyTorch's searches of one problem, compiled and warmed up."""

from __future__ import annotations

import dataclasses

import jax

from jaxinterp.bench.ours import JaxSearch
from jaxinterp.bench.problems import Problem
from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.turns import Search, warm
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import SuppressionSettings

__all__ = ["OURS", "Contestants", "contestants", "problem_flops", "require_torch", "torch_search"]

OURS = "JAX"


@dataclasses.dataclass(frozen=True)
class Contestants:
    """Searches of one problem, each where it started.

    Attributes:
      searches: by name; ours is called `OURS`.
      first: what the first segment took longer than another one: compilation, in seconds.
      step: seconds a step just after that, a rough figure.
      notes: what could not be measured, and why.
    """

    searches: dict[str, Search]
    first: dict[str, float]
    step: dict[str, float]
    notes: tuple[str, ...]


def require_torch() -> None:
    """Imports PyTorch.

    Raises:
      UserError: it is not installed.
    """
    try:
        import torch  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "This measurement compares with PyTorch, which is not installed here: `make bench` "
            "installs it, and so does pip install 'jaxinterp[parity]'."
        ) from error


def contestants(
    problem: Problem, ours: SuppressionSettings, settings: BenchSettings, say: Say
) -> Contestants:
    """Ours, and PyTorch in both memory orders, uncompiled and (if asked) compiled.

    Both with the same recipe. A variant that `torch.compile` refuses is left out, with a note.
    """
    from jaxinterp.bench.pytorch import Variant

    say(f"{problem.plan}: compiling")
    searches: dict[str, Search] = {OURS: JaxSearch(problem, ours, precision=settings.precision)}
    first, step = {}, {}
    notes: list[str] = []
    first[OURS], seconds = warm(searches[OURS])
    step[OURS] = seconds / problem.segment
    for compiled in (False, True) if settings.compiled else (False,):
        for channels_last in (False, True):
            variant = Variant(channels_last, compiled, settings.mode, settings.precision)
            name = str(variant)
            try:
                search = torch_search(problem, ours, variant)
                first[name], seconds = warm(search)
            except Exception as error:
                if not compiled:
                    raise
                reason = str(error).strip().splitlines() or [type(error).__name__]
                notes.append(f"{problem.plan}: {name} did not run: {reason[0][:200]}")
                say(notes[-1])
                continue
            searches[name], step[name] = search, seconds / problem.segment
    return Contestants(searches, first, step, tuple(notes))


def torch_search(problem: Problem, ours: SuppressionSettings, variant: object) -> Search:
    """PyTorch's search of a problem; `variant` is a `jaxinterp.bench.pytorch.Variant`."""
    from jaxinterp.bench.pytorch import TorchSearch, Variant, torch_device, torch_features

    assert isinstance(variant, Variant)
    return TorchSearch(
        torch_features(problem.network, problem.plan.layer),
        problem.network,
        problem.images,
        problem.kernels,
        ours,
        device=torch_device(jax.default_backend()),
        variant=variant,
        segment=problem.segment,
    )


def problem_flops(problem: Problem) -> int:
    """Operations of one step of all lanes, as `jaxinterp.bench.pytorch.flops_of` counts them."""
    from jaxinterp.bench.pytorch import flops_of, torch_features

    lanes, height, width, channels = problem.images.shape
    features = torch_features(problem.network, problem.plan.layer)
    return flops_of(features, (lanes, channels, height, width))
