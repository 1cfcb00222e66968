"""Many input optimisations at once."""

from jaxinterp.optimize.lanes import (
    Lanes as Lanes,
    LaneState as LaneState,
    LaneStatus as LaneStatus,
    Objective as Objective,
)
from jaxinterp.optimize.minimise import Minimum as Minimum, minimise as minimise
from jaxinterp.optimize.recipes import (
    RECIPES as RECIPES,
    Recipe as Recipe,
    find_recipe as find_recipe,
)
from jaxinterp.optimize.stream import (
    Ended as Ended,
    Snapshot as Snapshot,
    Stream as Stream,
    StreamCounts as StreamCounts,
)
from jaxinterp.optimize.task import Found as Found, Start as Start, Task as Task
