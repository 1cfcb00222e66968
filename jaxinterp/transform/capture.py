"""Reading named values."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import jax

from jaxinterp.transform.evaluate import run
from jaxinterp.transform.program import trace
from jaxinterp.transform.rewrite import Rewrite
from jaxinterp.transform.sites import find_sites, forbid, select

__all__ = ["capture"]


@overload
def capture(
    fn: Callable[..., Any], names: Iterable[str], *, with_output: Literal[False] = False
) -> Callable[..., dict[str, jax.Array]]: ...


@overload
def capture(
    fn: Callable[..., Any], names: Iterable[str], *, with_output: Literal[True]
) -> Callable[..., tuple[Any, dict[str, jax.Array]]]: ...


def capture(
    fn: Callable[..., Any], names: Iterable[str], *, with_output: bool = False
) -> Callable[..., Any]:
    """Makes a function that returns the named values of `fn`.

    Only what the names need is computed: layers above them are not, even without `jit`. The new
    function can be jitted, differentiated and vmapped; transform before you differentiate.

    Args:
        fn: A function that names values with `tap`.
        names: The names to read. A name that is met several times is asked for as `name[0]`,
            `name[1]`, ... in the order of computation. (A string is one name.)
        with_output: Whether to compute the output of `fn` too.

    Returns:
        A function of the same arguments that returns a dict from name to value, or
        `(output, dict)` if `with_output`. A value has the shape it was tapped with; in a scan it
        is stacked along a new leading axis, one entry a step (in nested scans along several,
        outermost first). A value tapped under a `vmap` inside `fn` has its batch axis wherever JAX
        put it: tap in batched code.

        Without `with_output`, effects (prints, callbacks) that come after the last value needed
        do not happen, as if `fn` stopped there. A value in a custom_jvp or custom_vjp function is
        computed by running that function's body once more; the call itself keeps its rule, while
        the captured value has the derivative of the body.

    Raises:
        UnknownTapError: A name is not tapped, or several times; raised when called.
        TapError: A value lies in a while loop, a branch of a cond or a shard_map.

    Example:
        >>> maps = capture(apply, ["relu4_3"])(params, images)["relu4_3"]
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)

    def captured(*args: Any, **kwargs: Any) -> Any:
        program = trace(fn, args, kwargs)
        sites = select(find_sites(program.body), wanted)
        for site in sites:
            forbid(site, "capture", ("while", "cond", "shard_map"))
        rewrite = Rewrite(collected={site.path: site.label for site in sites})
        output, values = run(program, rewrite, output=with_output)
        values = {name: values[name] for name in wanted}
        return (output, values) if with_output else values

    return captured
