"""What bf16 adds to a model's logits: measured once, when the model is published, and kept with it.

So that an answer depends on its row and on the model alone, and not on the rows beside it: the mean
error is taken away from every row, and a row whose decision the rest of the error could turn is
answered in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from footwork.accelerator import settled_precision
from footwork.arrays import FloatArray, IntArray, RealArray
from footwork.errors import ModelError
from footwork.evaluation.decision import DecisionRule
from footwork.inference.frozen import frozen_model
from footwork.options import Precision
from footwork.tables.labels import MULTI_LABEL

Closeness = Callable[[FloatArray], RealArray]
"""(N, C) logits → (N,) distances, in logits, to where a decision changes."""
Run = Callable[[nn.Module, IntArray], FloatArray]
"""What a model says of some rows: (R,) numbers of rows → (R, C) logits."""

FEWEST = 16
"""Rows without which an error counts as unknown."""
DEVIATIONS = 4.5
"""A decision closer than so many standard deviations of the error may have been turned by it.

Where half of the decisions lie within a logit of the border, and bf16 errs by 0.03, one in 96
million lies farther off and is turned; one in 170,000 should the sample have given two thirds of
the error.
"""
_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class RoundingError:
    """The error of bf16 on a model, in logits."""

    bias: FloatArray
    """Its mean, (C,): mostly the rounding of weights."""
    deviation: float
    """Standard deviation of the rest: of one label where each is decided by itself, else of the
    difference of two; of those labels that err most."""

    @property
    def reach(self) -> float:
        """Closeness below which a decision may be bf16's and not the model's."""
        return DEVIATIONS * self.deviation

    def scaled(self, factor: float) -> RoundingError:
        """Of logits times a factor."""
        return RoundingError(self.bias * np.float32(factor), self.deviation * factor)

    def to_dict(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {"bias": self.bias.tolist(), "deviation": self.deviation}


def measured_error(
    rule: DecisionRule, bf16: FloatArray, float32: FloatArray
) -> RoundingError | None:
    """Compare logits of both precisions on rows like those to come, (N, C) each.

    None where there is nothing to protect (a regression), too few rows, or bf16 gives no numbers.
    """
    errors = np.asarray(bf16, np.float64) - float32
    if not rule.decides or len(errors) < FEWEST or not np.isfinite(errors).all():
        return None
    covariance = np.cov(errors, rowvar=False).reshape(errors.shape[1], -1)
    variances = np.diagonal(covariance)
    if rule.task != MULTI_LABEL:  # what moves all labels alike moves no decision
        variances = variances[:, None] + variances - 2 * covariance
    deviation = float(np.sqrt(max(variances.max(), 0)))
    return RoundingError(errors.mean(axis=0).astype(np.float32), deviation)


def published_error(manifest: Mapping[str, Any], rule: DecisionRule) -> RoundingError | None:
    """What a folder says of the error of its model; None where it was not measured.

    It is kept in log odds, logits over the temperature: that may have moved into the weights since.
    What states no such thing, or that of another model, is a `ModelError`.
    """
    match manifest.get("rounding"):
        case None:
            return None
        case {"bias": [*bias], "deviation": float() | int() as deviation} if (
            rule.decides
            and len(bias) == len(rule.labels)
            and all(isinstance(one, float | int) and abs(one) < _LARGEST for one in bias)
            and 0 <= deviation < _LARGEST
        ):
            return RoundingError(np.array(bias, np.float32), deviation).scaled(rule.temperature)
    raise ModelError(
        f"The manifest of the model does not fit it: `rounding` must be as it was published, for "
        f"{len(rule.labels)} labels. Train or copy the folder again."
    )


class FrozenClassifier:
    """A classifier in the precision that it answers in, and in float32 for close calls.

    `auto` takes bf16 where the machine is quick in it and `error`, of the model in bf16, is known.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: Precision,
        error: RoundingError | None = None,
        *,
        packed: bool = False,
    ) -> None:
        auto = precision == "auto"
        known = "float32" if auto and error is None else precision
        bf16 = settled_precision(known, model) == "bf16"
        self._error = error if auto and bf16 else None
        dtype = torch.bfloat16 if bf16 else torch.float32
        self._fast = self._exact = frozen_model(model, dtype, packed=packed)
        if self._error is not None:
            self._exact = frozen_model(model, torch.float32, packed=packed)

    def logits(self, run: Run, rows: int, closeness: Closeness | None = None) -> FloatArray:
        """What `run` has the model say of so many rows, (N, C).

        Without `closeness` there is no decision to protect.
        """
        answers = run(self._fast, np.arange(rows))
        if self._error is None or closeness is None or not rows:
            return answers
        answers = answers - self._error.bias
        close = np.flatnonzero(closeness(answers) < self._error.reach)
        if len(close):
            answers[close] = run(self._exact, close)
        return answers
