"""Files in folders by their label: planned first, then done, and undone if it was not wanted."""

from runtime.placing import How
from zeroshot.sorting.execution import SortingOutcome, apply_plan
from zeroshot.sorting.folder_names import label_folders
from zeroshot.sorting.plan import SortingPlan, plan_sorting
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
