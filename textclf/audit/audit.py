"""Look a data set over before it costs a night of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from runtime.errors import ConfigError
from textclf.audit.cost import Cost, CostInput, estimate_cost
from textclf.audit.findings import (
    Finding,
    bad_row_findings,
    class_counts,
    class_findings,
    label_findings,
    splits_of,
    text_findings,
)
from textclf.audit.text import audit_as_text
from textclf.audit.token_counts import TokenCounts, count_tokens
from textclf.audit.token_findings import token_findings
from textclf.data.labels import REGRESSION
from textclf.data.loading import LabelledData


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split in numbers."""

    rows: int
    counts: Mapping[str, int]
    """Rows of each class; empty for regression."""
    median_tokens: int
    longest_tokens: int
    tokens: int
    lost_tokens: int
    """Beyond `max_length`."""
    amounts: tuple[float, float, float] | None = None
    """Least, mean and greatest, for regression."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in a data set."""

    task: str
    labels: tuple[str, ...]
    max_length: int
    """Longest input, in tokens."""
    splits: Mapping[str, SplitSummary]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """How the data set was read."""
    cost: Cost | None

    @property
    def usable(self) -> bool:
        """Whether training can work at all."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_text(self) -> str:
        """A report of at most 100 columns, with the first rows of each finding."""
        return audit_as_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return {"usable": self.usable, **asdict(self)}


def audit_data(
    data: LabelledData, tokenizer: Any, max_length: int, cost: CostInput | None = None
) -> Audit:
    """Count, compare and tokenize every text of a data set.

    Args:
        data: As `load_data` gives it.
        tokenizer: The model's, of transformers.
        max_length: Longest input, in tokens.
        cost: The model and the run, for an estimate of time and memory; None for none.
    """
    if max_length < 1:
        raise ConfigError(f"`max_length` must be at least 1, got {max_length}.")
    splits = splits_of(data)
    tokens = {name: count_tokens(split, tokenizer) for name, split in splits.items()}
    findings = (
        *bad_row_findings(data),
        *class_findings(data),
        *label_findings(data),
        *text_findings(data),
        *token_findings(data, tokens, max_length),
    )
    kept = {name: np.minimum(one.lengths, max_length) for name, one in tokens.items()}
    lengths = (kept["train"].tolist(), kept["validation"].tolist())
    estimate = estimate_cost(cost, *lengths) if cost else None
    return Audit(
        task=data.task,
        labels=data.labels,
        max_length=max_length,
        splits={name: _summary(data, name, tokens[name], max_length) for name in splits},
        findings=findings,
        notes=data.notes,
        cost=estimate,
    )


def _summary(data: LabelledData, name: str, tokens: TokenCounts, max_length: int) -> SplitSummary:
    split = splits_of(data)[name]
    amounts = None
    if data.task == REGRESSION and len(split.targets):
        values = split.targets.astype(float)
        amounts = (values.min(), values.mean(), values.max())
    some = len(tokens.lengths) > 0
    return SplitSummary(
        rows=len(split.texts),
        counts={} if data.task == REGRESSION else class_counts(data, split),
        median_tokens=int(np.median(tokens.lengths)) if some else 0,
        longest_tokens=int(tokens.lengths.max(initial=0)),
        tokens=int(tokens.lengths.sum()),
        lost_tokens=int(tokens.lost(max_length).sum()),
        amounts=amounts and (float(amounts[0]), float(amounts[1]), float(amounts[2])),
    )


__all__ = ["Audit", "CostInput", "Finding", "SplitSummary", "audit_data"]
