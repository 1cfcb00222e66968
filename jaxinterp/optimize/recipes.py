"""Ways to walk: the optimisers by name, with the settings that go with them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import optax
import optax.contrib

from jaxinterp.optimize.relative import relative_adam

__all__ = ["RECIPES", "Recipe", "find_recipe"]

RecipeName = Literal["adam", "relative", "paper"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An optimiser's name and numbers.

    Attributes:
      name: "adam": Adam (b1 0.95, b2 0.95) whose rate falls linearly to zero over all steps.
        "relative": Adam (b1 0.9, b2 0.9) whose steps are relative to the input's magnitude, see
        `relative_adam`; its rate falls likewise.
        "paper": the suppression paper's gradient descent, the rate halved whenever the loss has not
        fallen (by 1e-4 of itself) for 50 steps.
      rate: the first learning rate, in units of the network's input; for "relative" a share of it.
      steps: how many.
    """

    name: RecipeName
    rate: float
    steps: int

    def optimizer(self, *, l1: float = 0.0) -> optax.GradientTransformation:
        """The optax optimiser.

        Args:
          l1: weight of an L1 norm of the input that the gradients leave out and "relative" takes
            account of; 0 if they include it.

        Raises:
          ValueError: an unknown name, or an L1 norm left to an optimiser that would ignore it.
        """
        if l1 and self.name != "relative":
            raise ValueError(f"only 'relative' minimises an L1 norm itself, not {self.name!r}")
        if self.name == "adam":
            schedule = optax.linear_schedule(self.rate, 0.0, self.steps)
            return optax.adam(schedule, b1=0.95, b2=0.95)
        if self.name == "relative":
            return relative_adam(optax.linear_schedule(self.rate, 0.0, self.steps), l1=l1)
        if self.name == "paper":
            plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=50, rtol=1e-4)
            return optax.chain(optax.sgd(self.rate), plateau)
        raise ValueError(f"optimizer is one of {', '.join(RECIPES)}, not {self.name!r}")


RECIPES: dict[str, Recipe] = {
    "adam": Recipe("adam", rate=0.1, steps=200),
    "relative": Recipe("relative", rate=0.08, steps=200),
    "paper": Recipe("paper", rate=10.0, steps=10_000),
}
"""The defaults of each: docs/suppression_study.md and docs/optimizers.md say how they came."""


def find_recipe(name: str, *, rate: float | None = None, steps: int | None = None) -> Recipe:
    """A recipe by name, with another rate or number of steps where given.

    Raises:
      ValueError: an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"optimizer is one of {', '.join(RECIPES)}, not {name!r}")
    recipe = RECIPES[name]
    return dataclasses.replace(
        recipe,
        rate=recipe.rate if rate is None else rate,
        steps=recipe.steps if steps is None else steps,
    )
