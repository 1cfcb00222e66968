"""Measurements: the suppression method in JAX against the same method in PyTorch.

This room may import PyTorch, in `jaxinterp.bench.pytorch` alone, which is imported when a
measurement needs it. The library works without it.
"""

from jaxinterp.bench.cases import CASES, Case, find_case
from jaxinterp.bench.machine import Machine, this_machine
from jaxinterp.bench.section import replace_section, write_section
from jaxinterp.bench.settings import BenchSettings
from jaxinterp.bench.table import BenchTable

__all__ = [
    "CASES",
    "BenchSettings",
    "BenchTable",
    "Case",
    "Machine",
    "find_case",
    "replace_section",
    "this_machine",
    "write_section",
]
