"""Transformations of functions that name their values."""

from jaxinterp.transform.capture import capture as capture
from jaxinterp.transform.composite import (
    Composite as Composite,
    deconvnet as deconvnet,
    guided_backprop as guided_backprop,
)
from jaxinterp.transform.edit import edit as edit
from jaxinterp.transform.errors import (
    RuleError as RuleError,
    StageError as StageError,
    TapError as TapError,
    TransformError as TransformError,
    UnknownTapError as UnknownTapError,
)
from jaxinterp.transform.stage import stage as stage
from jaxinterp.transform.tail import Tail as Tail, tail as tail
from jaxinterp.transform.tap import tap as tap
from jaxinterp.transform.taps import taps as taps
from jaxinterp.transform.with_rules import with_rules as with_rules
