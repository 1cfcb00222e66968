"""What goes wrong when a function is transformed, each in one sentence."""

from jaxinterp.errors import UserError

__all__ = ["RuleError", "StageError", "TapError", "TransformError", "UnknownTapError"]


class TransformError(UserError):
    """A function cannot be transformed as asked; the base of this room's errors."""


class TapError(TransformError):
    """A tap exists but lies where the requested transformation has no meaning."""


class UnknownTapError(TapError):
    """A requested name is tapped nowhere, or in several places at once."""


class RuleError(TransformError):
    """A composite of backward rules does not fit the function."""


class StageError(TransformError):
    """A staged function was called with arguments it was not staged for."""
