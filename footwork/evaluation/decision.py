"""From logits to an answer: probabilities, labels, and when to abstain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np

from footwork.arrays import RealArray
from footwork.errors import ConfigError, ModelError, require_probability
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.logits import probabilities
from footwork.models.heads import task_of
from footwork.settings import Documented
from footwork.tables.held import Rows
from footwork.tables.labels import MULTI_LABEL, REGRESSION, TASKS

_HOTTEST = 1e6
_SHOWN = 5  # answers


@dataclass(frozen=True, slots=True)
class Prediction(Documented):
    """The answer for one text."""

    id: str
    """Of its row; where there is none its number."""
    label: str | list[str] | float
    """A class; the classes that hold (multi-label); a number (regression)."""
    probability: float | None
    """Of the label; of the likeliest label (multi-label); None for a number."""
    probabilities: dict[str, float] = field(repr=False)
    """Calibrated, of every class; empty for a number."""
    abstained: bool
    """Whether `label` cannot be relied on: `probability` is too small, or a text is empty."""
    kept: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of the row that is answered, what stands beside the answer."""

    def to_row(self) -> dict[str, Any]:
        """As `predict --json` has it."""
        names = ("id", "label", "probability", "probabilities", "abstained")
        return {name: getattr(self, name) for name in names} | dict(self.kept)


class Predictions(Rows[Prediction]):
    """Answers, in the order of the texts; as a frame they have the columns of the command's CSV."""

    def __init__(self, answers: Iterable[Prediction] = (), labels: Iterable[str] = ()) -> None:
        super().__init__(answers)
        self.columns = self.cells(Prediction("", "", None, dict.fromkeys(labels, 0.0), False))

    def cells(self, row: Prediction) -> dict[str, Any]:
        """Of an answer, as in that CSV."""
        return flat_row(row.to_row())

    def __repr__(self) -> str:
        more = f", … {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        return f"[{', '.join(map(repr, self[:_SHOWN]))}{more}]"


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `Prediction.to_row` with its probabilities as columns `p:<label>`."""
    flat = {name: value for name, value in row.items() if name != "probabilities"}
    return flat | {f"p:{label}": value for label, value in row["probabilities"].items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """What a classifier's logits mean."""

    task: str
    labels: tuple[str, ...]
    """C names in the order of the logits; none for regression."""
    temperature: float = 1.0
    """Divides logits before they become probabilities."""
    abstain_below: float | None = None
    """Probability; None never abstains."""
    thresholds: tuple[float, ...] = ()
    """Probability from which each label holds (multi-label); none are 0.5 for all."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"`task` must be a problem_type of transformers, got {self.task!r}.")
        if not self.temperature > 0:
            raise ConfigError(f"`temperature` must be above 0, got {self.temperature}.")
        require_probability("abstain_below", self.abstain_below)

    @property
    def given(self) -> GivenCalibration:
        """What rows are to be judged with."""
        return GivenCalibration(self.temperature, self.abstain_below, self.thresholds)

    @property
    def decides(self) -> bool:
        """Whether the answer is a choice that a small error can tip over."""
        return self.task != REGRESSION

    def probabilities(self, logits: RealArray) -> RealArray:
        """Calibrated probabilities, (N, C), of logits (N, C); none for regression: (N, 0)."""
        scores = np.asarray(logits, np.float64) / self.temperature
        if self.task == REGRESSION:
            return scores[:, :0]
        return probabilities(self.task, scores)

    def closeness(self, logits: RealArray) -> RealArray:
        """How far each row is from another answer, in logits, (N,)."""
        logits = np.asarray(logits, np.float64)
        if not logits.size or not self.decides:
            return np.full(len(logits), np.inf)
        if self.task == MULTI_LABEL:
            nearest = np.abs(self.given.margins(logits)).min(axis=1)
        else:
            ordered = np.sort(logits, axis=1)
            single = logits.shape[1] == 1
            nearest = np.full(len(logits), np.inf) if single else ordered[:, -1] - ordered[:, -2]
        if self.abstain_below is None:
            return nearest
        top = self.probabilities(logits).max(axis=1)
        log_odds = np.log(np.clip(top, 1e-12, 1)) - np.log(np.clip(1 - top, 1e-12, 1))
        bar = np.clip(self.abstain_below, 1e-12, 1 - 1e-12)
        to_threshold = self.temperature * np.abs(log_odds - np.log(bar / (1 - bar)))
        return np.minimum(nearest, to_threshold)

    def held(self, logits: RealArray) -> list[list[str]]:
        """The labels that hold in each of N rows, (N, C), in their order (multi-label)."""
        held = (self.given.margins(np.asarray(logits, np.float64)) >= 0).tolist()
        return [list(compress(self.labels, row)) for row in held]

    def predictions(self, ids: list[str], logits: RealArray) -> Predictions:
        """The answers to N rows of logits, (N, C)."""
        if self.task == REGRESSION:
            rows = zip(ids, np.asarray(logits, np.float64)[:, 0].tolist(), strict=True)
            return Predictions(Prediction(each, value, None, {}, False) for each, value in rows)
        probabilities = self.probabilities(logits)
        best = [self.labels[place] for place in probabilities.argmax(axis=1).tolist()]
        labels = self.held(logits) if self.task == MULTI_LABEL else best
        answers = Predictions()
        for identity, label, row in zip(ids, labels, probabilities.tolist(), strict=True):
            abstained = self.abstain_below is not None and max(row) < self.abstain_below
            named = dict(zip(self.labels, row, strict=True))
            answers.append(Prediction(identity, label, max(row), named, abstained))
        return answers


def rule_of(manifest: Mapping[str, Any], config: Any) -> DecisionRule:
    """The rule that a folder states, in its manifest or, made elsewhere, in its config.

    A manifest that states none, or that of another model, is a `ModelError`.
    """
    if not manifest:
        width = 0 if task_of(config) == REGRESSION else config.num_labels
        names = tuple(str(config.id2label[index]) for index in range(width))
        return DecisionRule(task=task_of(config), labels=names)
    calibration = {} if manifest.get("calibration") is None else manifest["calibration"]
    known = isinstance(calibration, dict)
    former: dict[str, Any] = {"temperature": 1.0, "abstain_below": None, "thresholds": []}
    match known and {**manifest, **former, **calibration}:
        case {
            "task": str(task),
            "labels": [*labels],
            "temperature": float(temperature) | int(temperature),
            "abstain_below": None | float() | int() as bar,
            "thresholds": [*thresholds],
        } if (
            task in TASKS
            and all(isinstance(label, str) for label in labels)
            and (task == REGRESSION or len(labels) == config.num_labels)
            and 0 < temperature < _HOTTEST
            and all(isinstance(each, float) and 0 < each < 1 for each in thresholds)
            and len(thresholds) in (0, len(labels))
        ):
            return DecisionRule(
                task=task,
                labels=tuple(labels),
                temperature=temperature,
                abstain_below=bar,
                thresholds=tuple(thresholds),
            )
    raise ModelError(
        f"The manifest of the model does not fit it: `task`, `labels` ({config.num_labels}) and "
        "`calibration` must be as they were published. Train or copy the folder again."
    )
