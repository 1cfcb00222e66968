"""Transformations of functions that name their values."""

from jaxinterp.transform.capture import capture as capture
from jaxinterp.transform.composite import (
    Composite as Composite,
    deconvnet as deconvnet,
    guided_backprop as guided_backprop,
    with_stride_one as with_stride_one,
)
from jaxinterp.transform.edit import edit as edit
from jaxinterp.transform.errors import (
    RuleError as RuleError,
    StageError as StageError,
    TapError as TapError,
    TransformError as TransformError,
    UnknownTapError as UnknownTapError,
)
from jaxinterp.transform.fast_convolutions import fast_convolutions as fast_convolutions
from jaxinterp.transform.list_operations import list_operations as list_operations
from jaxinterp.transform.operations import OPERATIONS as OPERATIONS, Operation as Operation
from jaxinterp.transform.rules import (
    Rule as Rule,
    stride_one as stride_one,
    stride_one_centred as stride_one_centred,
)
from jaxinterp.transform.stage import stage as stage
from jaxinterp.transform.tail import Tail as Tail, tail as tail
from jaxinterp.transform.tap import tap as tap
from jaxinterp.transform.taps import taps as taps
from jaxinterp.transform.with_rules import with_rules as with_rules
