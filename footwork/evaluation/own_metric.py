"""A metric of the user's own: a function of Python, and by which name it is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from footwork.arrays import AnyArray
from footwork.errors import ConfigError, ModelError, require_one_of
from footwork.evaluation.logits import probabilities
from footwork.evaluation.metrics import METRICS, Interval, percentile_interval
from footwork.settings import Documented
from footwork.tables.labels import REGRESSION

OWN_RESAMPLES = 200
"""Bootstrap resamples of an interval: a function of Python is called for each."""


@dataclass(frozen=True, slots=True)
class Metric(Documented):
    """A metric of your own, measured on the validation rows of every evaluation, and in the end."""

    name: str
    """One word, by which it is told."""
    function: Callable[[Any, Any], float]
    """Of probabilities and targets, both arrays: (N, C) and class numbers (N,), or (N, C) of 0 and
    1; of a regression amounts, (N,) both."""
    _: KW_ONLY
    greater_is_better: bool
    """Whether more of it is better."""
    reads: Literal["probabilities", "logits"] = "probabilities"
    """What `function` is given; of a regression amounts either way. Probabilities are those before
    any temperature."""

    def __post_init__(self) -> None:
        """A `ConfigError` where it is none, or is called like one that is measured anyway."""
        require_one_of("reads", self.reads, ("probabilities", "logits"))
        taken = sorted({name for names in METRICS.values() for name in names})
        if not self.name.isidentifier() or self.name in taken:
            raise ConfigError(
                f"The `name` of a metric must be one word, and none of {', '.join(taken)}; got "
                f"{self.name!r}."
            )
        if not callable(self.function):
            raise ConfigError(f"The metric {self.name} must be a function, got {self.function!r}.")

    def __str__(self) -> str:
        better = "greater" if self.greater_is_better else "smaller"
        return f"{self.name}: {qualified_name(self.function)} of {self.reads}, {better} is better"

    def measured(self, task: str, targets: AnyArray, logits: AnyArray) -> float:
        """Its value on rows of a `problem_type` of transformers.

        A `ConfigError` if that is no number, a `ModelError` if it is no finite one.
        """
        found = self.function(self._given(task, logits), targets)
        try:
            value = float(found)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"The metric {self.name} must give a number, got {found!r}."
            ) from error
        if not np.isfinite(value):
            raise ModelError(
                f"The metric {self.name} gave {value} for {len(targets)} rows. It must give a "
                "finite number."
            )
        return value

    def interval(self, task: str, targets: AnyArray, logits: AnyArray) -> Interval:
        """The same with its bootstrap interval, of fewer resamples than are usual.

        Those are left out for which the function finds no value.
        """
        value, given = self.measured(task, targets, logits), self._given(task, logits)
        generator, samples = np.random.default_rng(0), np.full(OWN_RESAMPLES, np.nan)
        for number in range(OWN_RESAMPLES):
            rows = generator.integers(0, len(targets), len(targets))
            with suppress(ValueError, ZeroDivisionError):  # a class may have no row
                samples[number] = self.function(given[rows], targets[rows])
        return percentile_interval(value, samples) or Interval(value, value, value)

    def _given(self, task: str, logits: AnyArray) -> AnyArray:
        if task == REGRESSION:
            return logits[:, 0]
        return logits if self.reads == "logits" else probabilities(task, logits)


def qualified_name(function: Any) -> str:
    """By which a function, or an object that is called like one, is told: module and name.

    One with some arguments filled in, by `functools.partial`, is told with these, and a lambda, of
    which there may be several, with its line.
    """
    if isinstance(function, partial):
        named_arguments = (f"{name}={value!r}" for name, value in function.keywords.items())
        given = ", ".join((*map(repr, function.args), *named_arguments))
        return f"{qualified_name(function.func)}({given})"
    named = function if hasattr(function, "__qualname__") else type(function)
    line = f":{named.__code__.co_firstlineno}" if named.__qualname__.endswith("<lambda>") else ""
    return f"{named.__module__}.{named.__qualname__}{line}"
