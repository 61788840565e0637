"""What rows or images that nothing was learned from say of a classifier, with what was left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from footwork.evaluation.decision import Predictions
from footwork.evaluation.result import Evaluation
from footwork.evaluation.text import Shown


@dataclass(frozen=True, slots=True, repr=False)
class Assessment(Shown):
    """What a table or a folder says of a classifier that is trained already."""

    evaluation: Evaluation
    """Its calibration is the classifier's own, judged on these rows; nothing is fitted on them."""
    notes: tuple[str, ...]
    skipped: tuple[Any, ...]
    """Rows or images that were left out, with a reason each."""
    answers: Callable[[], Predictions] = Predictions
    """Gives `predictions`; it can be pickled, as all of this can."""

    @property
    def predictions(self) -> Predictions:
        """The answer to each text, with its `true_label`; of images there are none here."""
        return self.answers()

    @property
    def summary(self) -> str:
        """Of its evaluation."""
        return self.evaluation.summary

    def to_text(self) -> str:
        """The evaluation, and notes."""
        return "\n".join([self.evaluation.to_text(), "", *self.notes])
