"""Average pooling and resizing in the form of a product with a constant matrix."""

import numpy as np
from jax.extend.core import JaxprEqn

from jaxinterp.transform.facts import Facts
from jaxinterp.transform.operations.span import operand_and_weight

__all__ = ["averages"]


def averages(equation: JaxprEqn, facts: Facts) -> bool:
    """Whether a matrix product takes averages: its matrix is constant and its rows sum to 1.

    Or the matrix is made of no array at all, as that of `jax.image.resize` is: no layer's weight.
    """
    operands = operand_and_weight(equation, facts)
    if operands is None:
        return False
    if facts.is_made_up(operands[1]):
        return True
    matrix = facts.array(operands[1])
    if matrix is None or not np.issubdtype(matrix.dtype, np.floating):
        return False
    contracted = equation.params["dimension_numbers"][0]
    axes = contracted[0] if equation.invars[0] is operands[1] else contracted[1]
    sums = matrix.sum(tuple(axes), dtype=np.float64)
    return bool((matrix >= 0).all() and np.allclose(sums, 1, atol=1e-3))
