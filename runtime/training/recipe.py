"""What a training's settings become when the user leaves them open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a setting becomes when the user leaves it open."""

    learning_rate: float
    """Peak rate of AdamW."""
    num_epochs: float
    """Passes over the training rows."""
    source: str


MIN_STEPS = (
    300  # fewer leave a new head untrained, whatever the rate (Mosbach et al. 2021, section 5)
)
MAX_EPOCHS = 30


def recipe_for(
    recipes: Sequence[tuple[float, Recipe]], encoder_parameters: int, rows: int, batch_size: int
) -> Recipe:
    """The recipe for a size, with more epochs where rows are few.

    Args:
        recipes: By upper bound of the encoder's size, ascending.
        encoder_parameters: Without the embeddings.
        rows: Training rows.
        batch_size: Rows a step.
    """
    recipe = next(recipe for bound, recipe in recipes if encoder_parameters < bound)
    steps_an_epoch = math.ceil(rows / batch_size)
    enough = math.ceil(MIN_STEPS / steps_an_epoch)
    epochs = min(max(recipe.num_epochs, enough), max(MAX_EPOCHS, recipe.num_epochs))
    if epochs == recipe.num_epochs:
        return recipe
    reason = f"{recipe.source}; epochs for at least {MIN_STEPS} steps, Mosbach et al. 2021"
    return Recipe(recipe.learning_rate, epochs, reason)
