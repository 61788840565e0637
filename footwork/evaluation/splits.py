"""Hold rows out for validation: stratified, and never a group on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from footwork.errors import DataError


def hold_out(
    groups: NDArray[np.int64], classes: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.bool_]:
    """Choose the rows of validation.

    Whole groups are drawn at random from each class until its share is reached. The last group
    of a class stays in training.

    Args:
        groups: A number for each row, the same for rows that must not be separated, (N,).
        classes: Of each row: each gives its share, (N,).
        share: Of the rows, above 0 and below 1.
        seed: The same gives the same rows.

    Returns:
        True for rows of validation, (N,).

    Raises:
        DataError: No row can be spared.
    """
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    by_class: dict[int, list[NDArray[np.int64]]] = {}
    for rows in members:
        by_class.setdefault(int(classes[rows[0]]), []).append(rows)
    held = np.zeros(len(groups), dtype=bool)
    generator = np.random.default_rng(seed)
    shuffled = {
        name: [by_class[name][i] for i in generator.permutation(len(by_class[name]))]
        for name in sorted(by_class)
    }
    for name, quota in _quotas(shuffled, share).items():
        _draw(shuffled[name], quota, held)
    if not held.any():
        spare = [rows for drawn in shuffled.values() for rows in drawn[:-1]]
        if not spare:
            raise DataError(
                "No row can be held out for validation: no class has two that differ. "
                "Add some, or give a folder with a train and a validation part."
            )
        held[min(spare, key=len)] = True
    return held


def _quotas(by_class: dict[int, list[NDArray[np.int64]]], share: float) -> dict[int, int]:
    """Rows to draw of each class, by largest remainder, so that they sum up to the share."""
    exact = {name: share * sum(map(len, drawn)) for name, drawn in by_class.items()}
    quotas = {name: int(amount) for name, amount in exact.items()}
    missing = max(1, round(sum(exact.values()))) - sum(quotas.values())
    by_remainder = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in [one for one in by_remainder if len(by_class[one]) > 1][:missing]:
        quotas[name] += 1
    return quotas


def _draw(groups: Sequence[NDArray[np.int64]], quota: int, held: NDArray[np.bool_]) -> None:
    taken = 0
    for rows in groups[:-1]:
        if taken >= quota:
            return
        # Half a group too many is nearer to the quota than half a group too few.
        if taken + len(rows) / 2 <= quota:
            held[rows] = True
            taken += len(rows)
