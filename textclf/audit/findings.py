"""What may be wrong with labelled texts, each with the rows that it concerns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from footwork.class_names import look_alike
from footwork.files.faults import counted, shortened
from footwork.tables.labels import MULTI_LABEL, REGRESSION
from textclf.data import UNSEEN_LABEL, Examples, TextData, lacks_text, text_groups

_FEW_ROWS = 10
_SMALL = 300
_IMBALANCE = 10
_SHOWN_LABELS = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know before training."""

    kind: str
    severity: str
    """`error` (training cannot work), `warning` or `note`."""
    message: str
    rows: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """All row numbers, by split or by file."""
    details: Mapping[str, Any] = field(default_factory=dict)


def bad_row_findings(data: TextData) -> Iterator[Finding]:
    """Rows that could not be used, by reason."""
    for rows, kind, severity in (
        (data.blocking, "bad_rows", "error"),
        (data.skipped, "skipped", "warning"),
    ):
        if not rows:
            continue
        ending = "training stops at them" if severity == "error" else "they are left out"
        for which, ones in (
            ("unseen_labels", [one for one in rows if one.kind == UNSEEN_LABEL]),
            (kind, [one for one in rows if one.kind != UNSEEN_LABEL]),
        ):
            if ones:
                reasons = shortened(dict.fromkeys(one.reason for one in ones), 3)
                message = f"{counted(len(ones), 'row')} cannot be used; {ending}: {reasons}."
                details = {"reasons": [[one.source, one.row, one.reason] for one in ones]}
                places: dict[str, list[int]] = defaultdict(list)
                for one in ones:
                    places[one.source].append(one.row)
                yield Finding(which, severity, message, dict(places), details)


def class_findings(data: TextData) -> Iterator[Finding]:
    """Too few classes, too few rows in them, too many in one."""
    if data.task == REGRESSION:
        if np.ptp(data.train.targets) == 0:
            yield Finding("one_class", "error", "All amounts are the same: nothing can be learned.")
        return
    counts = class_counts(data, data.train)
    yield from _constant_findings(data, counts)
    if len(data.labels) < (1 if data.task == MULTI_LABEL else 2):
        shown = f"only the class {data.labels[0]!r}" if data.labels else "no label at all"
        yield Finding("one_class", "error", f"There is {shown}: nothing can be learned.")
        return
    for limit, kind in ((2, "single_row_classes"), (_FEW_ROWS, "small_classes")):
        low = 0 if limit == 2 else 2
        small = [label for label, count in counts.items() if low <= count < limit]
        if small:
            message = (
                f"{_classes(len(small))} with fewer than {limit} training rows: {_list(small)}."
            )
            rows = {"train": _rows_of(data, small)}
            yield Finding(kind, "warning", message, rows, {"labels": small})
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= _IMBALANCE * max(counts[least], 1):
        message = (
            f"Classes are unbalanced: {most!r} has {counts[most]} training rows, {least!r} "
            f"{counts[least]}. Look at macro F1, not at accuracy; class weights may help."
        )
        yield Finding("imbalance", "warning", message)


def _constant_findings(data: TextData, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Labels of a multi-label set that every training row carries."""
    rows = len(data.train.texts)
    constant = [label for label, count in counts.items() if count == rows]
    if data.task == MULTI_LABEL and constant:
        every = len(constant) == len(counts)
        message = (
            f"{_classes(len(constant))} on every training row, of which nothing can be learned: "
            f"{_list(constant)}."
        )
        details = {"labels": constant}
        yield Finding("constant_labels", "error" if every else "warning", message, details=details)


def size_findings(data: TextData) -> Iterator[Finding]:
    """So few rows that the figures are a matter of luck."""
    rows, judged = len(data.train), len(data.test or data.validation)
    if rows < _SMALL:
        # Half a 95 % interval where half of the answers are right, at worst.
        points = round(98 / max(judged, 1) ** 0.5)
        message = (
            f"Only {counted(rows, 'row')} to train on: another draw of them may be several points "
            f"better or worse, and {counted(judged, 'row')} tell an accuracy to {points} points "
            "either way. Label more where you can; try more than one --seed."
        )
        yield Finding("few_rows", "note", message, details={"rows": rows, "judged": judged})


def label_findings(data: TextData) -> Iterator[Finding]:
    """Labels that look like one another, and classes that validation never shows."""
    for labels in look_alike(data.labels):
        message = (
            "Labels that differ only in case, spaces, dashes or how a value is written: "
            f"{_list(labels)}."
        )
        yield Finding("similar_labels", "warning", message, details={"labels": labels})
    if data.task == REGRESSION:
        return
    counts = class_counts(data, data.validation)
    absent = [label for label, count in counts.items() if count == 0]
    if absent and len(data.labels) > 1:
        message = f"{_classes(len(absent))} without a row in validation: {_list(absent)}."
        yield Finding("not_validated", "note", message, details={"labels": absent})


def text_findings(data: TextData) -> Iterator[Finding]:
    """Empty, repeated, contradictory and leaked texts."""
    splits = data.splits
    empty = {name: _empty_rows(split) for name, split in splits.items()}
    if any(empty.values()):
        full = len(empty["train"]) == len(data.train.texts)
        count = sum(map(len, empty.values()))
        yield Finding(
            "empty_texts",
            "error" if full else "warning",
            f"{counted(count, 'row')} without text.",
            _some(empty),
        )
    groups = _same_texts(splits)
    yield from _duplicate_finding(splits, groups)
    yield from _conflict_finding(splits, groups, data.task)
    yield from _leak_findings(splits, groups)


Place = tuple[str, int]
"""A split, and an index into it."""


def _same_texts(splits: Mapping[str, Examples]) -> list[list[Place]]:
    """Places with the same normalised text, for every text that stands in several."""
    texts = list(chain.from_iterable(split.texts for split in splits.values()))
    pairs = list(chain.from_iterable(split.pairs or () for split in splits.values()))
    groups = text_groups(texts, pairs or None)
    several = np.flatnonzero(np.bincount(groups)[groups] > 1)
    names, ends = list(splits), np.cumsum([len(split.texts) for split in splits.values()])
    by_group: dict[int, list[Place]] = defaultdict(list)
    for place, number in zip(
        several.tolist(), np.searchsorted(ends, several, "right"), strict=True
    ):
        name = names[number]
        i = place - ends[number] + len(splits[name].texts)
        # Texts that are not there say nothing; they are a finding of their own.
        if splits[name].texts[i].strip():
            by_group[int(groups[place])].append((name, i))
    return list(by_group.values())


def _duplicate_finding(
    splits: Mapping[str, Examples], groups: Sequence[Sequence[Place]]
) -> Iterator[Finding]:
    rows: dict[str, list[int]] = {name: [] for name in splits}
    sets: list[dict[str, Any]] = []
    for group in groups:
        for name in splits:
            same = [splits[name].rows[i] for one, i in group if one == name]
            if len(same) > 1:
                rows[name].extend(same[1:])
                sets.append({"split": name, "rows": same})
    if sets:
        count = sum(map(len, rows.values()))
        repeating = counted(count, "row repeats", "rows repeat")
        message = f"{repeating} an earlier text of the same split."
        yield Finding("duplicates", "note", message, _some(rows), {"groups": sets})


def _conflict_finding(
    splits: Mapping[str, Examples], groups: Sequence[Sequence[Place]], task: str
) -> Iterator[Finding]:
    rows: dict[str, list[int]] = {name: [] for name in splits}
    sets = []
    for group in groups:
        targets = {splits[name].targets[i].tobytes() for name, i in group}
        if len(targets) > 1:
            sets.append([[name, splits[name].rows[i]] for name, i in group])
            for name, i in group:
                rows[name].append(splits[name].rows[i])
    if not sets:
        return
    texts = counted(len(sets), "text stands", "texts stand")
    if task != REGRESSION:
        message = f"{texts} under different labels: at least one of them is wrong."
        yield Finding("conflicts", "warning", message, _some(rows), {"groups": sets})
        return
    amounts = [[splits[name].targets[row] for name, row in group] for group in groups]
    apart = [gap for gap in map(np.ptp, amounts) if gap]
    message = (
        f"{texts} with several amounts, {np.median(apart):.3g} apart in the median, at most "
        f"{max(apart):.3g} (of all training rows the standard deviation is "
        f"{splits['train'].targets.std():.3g}): no answer can be nearer to them than that."
    )
    yield Finding("conflicts", "note", message, _some(rows), {"groups": sets})


def _leak_findings(
    splits: Mapping[str, Examples], groups: Sequence[Sequence[Place]]
) -> Iterator[Finding]:
    for other in ("validation", "test"):
        rows: dict[str, list[int]] = {"train": [], other: []}
        for group in groups:
            if {"train", other} <= {name for name, _ in group}:
                for name, i in group:
                    if name in rows:
                        rows[name].append(splits[name].rows[i])
        if rows[other]:
            both = counted(len(rows[other]), f"row of {other} stands", f"rows of {other} stand")
            message = f"{both} in train too: its scores will be too good."
            yield Finding(f"leak_{other}", "warning", message, _some(rows))


def class_counts(data: TextData, split: Examples) -> dict[str, int]:
    """Rows of each class; a row counts for each of its labels."""
    if data.task == MULTI_LABEL:
        counts = split.targets.sum(axis=0)
    else:
        counts = np.bincount(split.targets, minlength=len(data.labels))
    return {label: int(count) for label, count in zip(data.labels, counts, strict=True)}


def _rows_of(data: TextData, labels: Sequence[str]) -> list[int]:
    numbers = [data.labels.index(label) for label in labels]
    if data.task == MULTI_LABEL:
        chosen = data.train.targets[:, numbers].any(axis=1)
    else:
        chosen = np.isin(data.train.targets, numbers)
    return [data.train.rows[i] for i in np.flatnonzero(chosen)]


def _empty_rows(split: Examples) -> list[int]:
    seconds = split.pairs or split.texts
    places = zip(split.texts, seconds, split.rows, strict=True)
    return [row for *both, row in places if lacks_text(*both)]


def _some(rows: Mapping[str, Iterable[int]]) -> dict[str, Sequence[int]]:
    return {name: ordered for name, numbers in rows.items() if (ordered := sorted(set(numbers)))}


def _list(names: Sequence[str]) -> str:
    return shortened((f"'{name}'" for name in names), _SHOWN_LABELS)


def _classes(count: int) -> str:
    return counted(count, "class", "classes")
