"""What may be wrong with labelled texts, each with the rows that it concerns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any

import numpy as np

from footwork.class_names import look_alike
from footwork.files.faults import counted, shortened
from footwork.tables.labels import MULTI_LABEL, REGRESSION, cut
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
    counts = class_counts(data, "train")
    constant = [label for label, count in counts.items() if count == len(data.train)]
    if data.task == MULTI_LABEL and constant:
        message = (
            f"{_classes(len(constant))} on every training row, of which nothing can be learned: "
            f"{_list(constant)}."
        )
        severity = "error" if len(constant) == len(counts) else "warning"
        yield Finding("constant_labels", severity, message, details={"labels": constant})
    if len(data.labels) < (1 if data.task == MULTI_LABEL else 2):
        shown = f"only the class {data.labels[0]!r}" if data.labels else "no label at all"
        yield Finding("one_class", "error", f"There is {shown}: nothing can be learned.")
        return
    for limit, kind in ((2, "single_row_classes"), (_FEW_ROWS, "small_classes")):
        low = 0 if limit == 2 else 2
        if small := [label for label, count in counts.items() if low <= count < limit]:
            message = (
                f"{_classes(len(small))} with fewer than {limit} training rows: {_list(small)}."
            )
            numbers, targets = [data.labels.index(label) for label in small], data.train.targets
            several = data.task == MULTI_LABEL
            of_them = targets[:, numbers].any(axis=1) if several else np.isin(targets, numbers)
            rows = {"train": [data.train.rows[i] for i in np.flatnonzero(of_them)]}
            yield Finding(kind, "warning", message, rows, {"labels": small})
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= _IMBALANCE * max(counts[least], 1):
        message = (
            f"Classes are unbalanced: {cut(most)!r} has {counts[most]} training rows, "
            f"{cut(least)!r} {counts[least]}. Look at macro F1, not at accuracy; class weights may "
            "help."
        )
        yield Finding("imbalance", "warning", message)


def size_findings(data: TextData) -> Iterator[Finding]:
    """So few rows that the figures are a matter of luck."""
    rows, judged = len(data.train), len(data.test or data.validation)
    if rows < _SMALL:
        # Half a 95 % interval where half of the answers are right, at worst.
        points, tell = round(98 / max(judged, 1) ** 0.5), counted(judged, "row tells", "rows tell")
        worth = "better or worse"
        if data.task != REGRESSION:
            worth = f"several points {worth}, and {tell} an accuracy to {points} points either way"
        message = (
            f"Only {counted(rows, 'row')} to train on: another draw of them may be {worth}. Label "
            "more where you can; try more than one --seed."
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
    counts = class_counts(data, "validation")
    absent = [label for label, count in counts.items() if count == 0]
    if absent and len(data.labels) > 1:
        message = f"{_classes(len(absent))} without a row in validation: {_list(absent)}."
        yield Finding("not_validated", "note", message, details={"labels": absent})


Place = tuple[str, int]
"""A split, and an index into it."""
Splits = Mapping[str, Examples]


def text_findings(data: TextData) -> Iterator[Finding]:
    """Empty, repeated, contradictory and leaked texts."""
    splits: Splits = data.splits
    empty = [(name, i) for name, split in splits.items() for i in _empty(split)]
    if empty:
        rows = _rows_at(splits, empty)
        severity = "error" if len(rows.get("train", ())) == len(data.train) else "warning"
        yield Finding("empty_texts", severity, f"{counted(len(empty), 'row')} without text.", rows)
    groups = _same_texts(splits)
    by_split = ([place for place in group if place[0] == n] for group in groups for n in splits)
    if sets := [places for places in by_split if len(places) > 1]:
        again = [place for places in sets for place in places[1:]]
        repeating = counted(len(again), "row repeats", "rows repeat")
        message = f"{repeating} an earlier text of the same split."
        each = [
            {"split": places[0][0], "rows": [splits[name].rows[i] for name, i in places]}
            for places in sets
        ]
        yield Finding("duplicates", "note", message, _rows_at(splits, again), {"groups": each})
    yield from _conflicts(data, groups)
    for other in ("validation", "test"):
        shared = [group for group in groups if {"train", other} <= {name for name, _ in group}]
        both = [place for group in shared for place in group if place[0] in ("train", other)]
        if rows := _rows_at(splits, both):
            count = len(rows[other])
            stand = counted(count, f"row of {other} stands", f"rows of {other} stand")
            message = f"{stand} in train too: its scores will be too good."
            yield Finding(f"leak_{other}", "warning", message, rows)


def _empty(split: Examples) -> Iterator[int]:
    both = zip(split.texts, split.pairs or split.texts, strict=True)
    return (i for i, texts in enumerate(both) if lacks_text(*texts))


def _same_texts(splits: Splits) -> list[list[Place]]:
    """Places with the same normalised text, for every text that stands in several."""
    texts = list(chain.from_iterable(split.texts for split in splits.values()))
    pairs = list(chain.from_iterable(split.pairs or () for split in splits.values()))
    groups = text_groups(texts, pairs or None)
    several = np.bincount(groups)[groups] > 1
    places = ((name, i) for name, split in splits.items() for i in range(len(split)))
    by_group: dict[int, list[Place]] = defaultdict(list)
    for (name, i), group in zip(compress(places, several), groups[several].tolist(), strict=True):
        # Texts that are not there say nothing; they are a finding of their own.
        if not lacks_text(splits[name].texts[i]):
            by_group[group].append((name, i))
    return list(by_group.values())


def _conflicts(data: TextData, groups: Sequence[Sequence[Place]]) -> Iterator[Finding]:
    """Equal texts under different labels, or with several amounts."""
    splits: Splits = data.splits
    # One zero is the other: of -0.0 the bytes are not those of 0.0.
    targets = [[splits[name].targets[i] + 0 for name, i in group] for group in groups]
    differ = [len({target.tobytes() for target in those}) > 1 for those in targets]
    conflicts = list(compress(groups, differ))
    if not conflicts:
        return
    severity, texts = "warning", counted(len(conflicts), "text stands", "texts stand")
    message = f"{texts} under different labels: at least one of them is wrong."
    if data.task == REGRESSION:
        severity, apart = "note", [gap for gap in map(np.ptp, targets) if gap]
        message = (
            f"{texts} with several amounts, {np.median(apart):.3g} apart in the median, at most "
            f"{max(apart):.3g} (of all training rows the standard deviation is "
            f"{data.train.targets.std():.3g}): no answer can be nearer to them than that."
        )
    rows = _rows_at(splits, chain.from_iterable(conflicts))
    each = [[[name, splits[name].rows[i]] for name, i in group] for group in conflicts]
    yield Finding("conflicts", severity, message, rows, {"groups": each})


def _rows_at(splits: Splits, places: Iterable[Place]) -> dict[str, list[int]]:
    """The numbers of rows, in order, of each split that has any."""
    rows: dict[str, set[int]] = {name: set() for name in splits}
    for name, i in places:
        rows[name].add(splits[name].rows[i])
    return {name: sorted(numbers) for name, numbers in rows.items() if numbers}


def class_counts(data: TextData, split: str) -> dict[str, int]:
    """Rows of each class, by name; a row counts for each of its labels."""
    return dict(zip(data.labels, data.counts(split).tolist(), strict=True))


def _list(names: Sequence[str]) -> str:
    return shortened((f"'{cut(name)}'" for name in names), _SHOWN_LABELS)


def _classes(count: int) -> str:
    return counted(count, "class", "classes")
