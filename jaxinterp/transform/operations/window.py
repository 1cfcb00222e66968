"""Max pooling as a function with a derivative rule of its own."""

from jax.extend.core import JaxprEqn

from jaxinterp.transform.facts import Facts
from jaxinterp.transform.program import Body, bodies

__all__ = ["lone_window"]


def lone_window(equation: JaxprEqn) -> JaxprEqn | None:
    """The max pooling that a custom_vjp call of one argument consists of, or None."""
    if not equation.primitive.name.startswith("custom_vjp_call") or len(equation.invars) != 1:
        return None
    return _alone(bodies(equation)[0])


def _alone(body: Body) -> JaxprEqn | None:
    """The `reduce_window_max` that a body consists of, whatever calls it is wrapped in."""
    jaxpr = body.jaxpr
    if len(jaxpr.invars) != 1 or len(jaxpr.outvars) != 1:
        return None
    source = Facts(body).definition(jaxpr.outvars[0])
    if source is None or list(source.invars) != [jaxpr.invars[0]]:
        return None
    if source.primitive.name in ("jit", "pjit"):
        return _alone(bodies(source)[0])
    return source if source.primitive.name == "reduce_window_max" else None
