"""Files in folders by their label: planned first, then done, and undone if it was not wanted."""

from footwork.files.placing import How
from zeroshot.sorting.plan import (
    SortingOutcome,
    SortingPlan,
    apply_plan,
    label_folders,
    plan_sorting,
)
from zeroshot.sorting.undo import UndoOutcome, undo_sorting

__all__ = [
    "How",
    "SortingOutcome",
    "SortingPlan",
    "UndoOutcome",
    "apply_plan",
    "label_folders",
    "plan_sorting",
    "undo_sorting",
]
