"""Recognising a network's operations by their structure.

A recogniser looks at one equation and what is known around it, and returns the operation that ends
there, or None. An operation may span several equations: it is recognised at the last one, and
its inputs are what the first ones read.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jax.extend.core import JaxprEqn

from jaxinterp.transform.facts import Facts
from jaxinterp.transform.operations.elementwise import recognise_add, recognise_batch_norm
from jaxinterp.transform.operations.linear import recognise_conv, recognise_dense
from jaxinterp.transform.operations.local_response_norm import recognise_local_response_norm
from jaxinterp.transform.operations.operation import Match as Match, Operation as Operation
from jaxinterp.transform.operations.pooling import recognise_average_pool, recognise_max_pool
from jaxinterp.transform.operations.relu import recognise_relu

__all__ = ["OPERATIONS", "Match", "Operation"]

OPERATIONS: Mapping[str, Callable[[JaxprEqn, Facts], Match | None]] = MappingProxyType(
    {
        "relu": recognise_relu,
        "conv": recognise_conv,
        "dense": recognise_dense,
        "max_pool": recognise_max_pool,
        "average_pool": recognise_average_pool,
        "local_response_norm": recognise_local_response_norm,
        "add": recognise_add,
        "batch_norm": recognise_batch_norm,
    }
)
