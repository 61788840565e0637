"""Hold rows out for validation: stratified, and never a group on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from footwork.arrays import AnyArray, BoolArray, IntArray
from footwork.errors import DataError
from footwork.tables.labels import MULTI_LABEL, REGRESSION

FEW_ROWS = 50
"""Validation rows, below which neither a step nor a temperature is chosen by them."""
_AMOUNT_BINS = 10
FOLDS = 5
FOLDED = 2000
"""Rows that folds are made of, at most: of more, a part tells the same."""


@dataclass(frozen=True, slots=True)
class StratifiedGroups:
    """Which of N rows are to be spread over all folds, and which must not be separated."""

    strata: IntArray
    """Shape (N,), what the folds should have alike: the class, say."""
    groups: IntArray
    """Shape (N,), as for `hold_out`."""

    def folds(self) -> tuple[IntArray, IntArray]:
        """The fold of some rows, (R,), and which rows, (R,)."""
        random = np.random.default_rng(0).permutation(len(self.strata))
        order = random[np.argsort(self.strata[random], kind="stable")]
        order = order[:: -(-len(order) // FOLDED)]
        _, first, group = np.unique(self.groups[order], return_index=True, return_inverse=True)
        _, number = np.unique(first[group], return_inverse=True)
        if not number.any():  # copies of one row, of which none could be left out
            number = np.arange(len(order))
        return number % min(FOLDS, number.max() + 1), order


def hold_out(groups: IntArray, classes: IntArray, share: float, seed: int) -> BoolArray:
    """Choose the rows of validation: True for them, (N,); a `DataError` where none can be spared.

    Whole groups are drawn at random from each class until its share is reached. The last group of a
    class stays in training.

    Args:
        groups: A number for each row, the same for rows that must not be separated, (N,).
        classes: Of each row: each gives its share, (N,).
        share: Of the rows, above 0 and below 1.
        seed: The same gives the same rows.
    """
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    by_class: dict[int, list[IntArray]] = {}
    for rows in members:
        by_class.setdefault(int(classes[rows[0]]), []).append(rows)
    held = np.zeros(len(groups), dtype=bool)
    generator = np.random.default_rng(seed)
    shuffled = {
        name: [by_class[name][i] for i in generator.permutation(len(by_class[name]))]
        for name in sorted(by_class)
    }
    for name, quota in _quotas(shuffled, share).items():
        taken = 0
        for rows in shuffled[name][:-1]:
            # Half a group too many is nearer to the quota than half a group too few.
            if taken + len(rows) / 2 <= quota:
                held[rows] = True
                taken += len(rows)
    if not held.any():
        spare = [rows for drawn in shuffled.values() for rows in drawn[:-1]]
        if not spare:
            raise DataError(
                "No row can be held out for validation: no class has two that differ. "
                "Add some, or give a folder with a train and a validation part."
            )
        held[min(spare, key=len)] = True
    return held


def _quotas(by_class: dict[int, list[IntArray]], share: float) -> dict[int, int]:
    """Rows to draw of each class, by largest remainder, so that they sum up to the share."""
    exact = {name: share * sum(map(len, drawn)) for name, drawn in by_class.items()}
    quotas = {name: int(amount) for name, amount in exact.items()}
    missing = max(1, round(sum(exact.values()))) - sum(quotas.values())
    by_remainder = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in [one for one in by_remainder if len(by_class[one]) > 1][:missing]:
        quotas[name] += 1
    return quotas


def strata(targets: AnyArray, task: str) -> IntArray:
    """Which rows are alike in their labels, (N,), of targets as `encode_targets` makes them.

    For multi-label a row belongs to the rarest of its labels, for regression to a tenth of the
    amounts.
    """
    if task == REGRESSION:
        edges = np.quantile(targets.astype(np.float64), np.linspace(0, 1, _AMOUNT_BINS + 1)[1:-1])
        return np.searchsorted(edges, targets.astype(np.float64)).astype(np.int64)
    if task == MULTI_LABEL:
        present = targets.astype(np.float64) > 0
        rarity = np.where(present, present.sum(axis=0), np.inf)
        rarest = rarity.argmin(axis=1) if targets.shape[1] else np.zeros(len(targets))
        return np.where(present.any(axis=1), rarest, -1).astype(np.int64)
    return targets.astype(np.int64)


def return_unseen(held: BoolArray, groups: IntArray, targets: AnyArray, task: str) -> BoolArray:
    """Give held rows, with their groups, back until training has every class of validation.

    A regression has no classes; nothing is given back.
    """
    if task == REGRESSION:
        return held
    held = held.copy()
    if task == MULTI_LABEL:
        unseen = np.flatnonzero((targets[held] > 0).any(axis=0) & ~(targets[~held] > 0).any(axis=0))
    else:
        unseen = np.setdiff1d(targets[held], targets[~held])
    for name in unseen:
        present = targets[:, name] > 0 if task == MULTI_LABEL else targets == name
        if not present[~held].any():
            held[groups == groups[np.flatnonzero(held & present)[0]]] = False
    return held
