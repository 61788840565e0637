"""An evaluation on images as lines of a terminal, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from footwork.evaluation.metrics import Interval
from footwork.evaluation.text import (
    LABEL_WIDTH,
    MATRIX_CLASSES,
    WIDTH,
    aligned,
    calibration_lines,
    confusion_lines,
    display_width,
    number,
    pair_lines,
    shorten,
    wrapped,
    wrapped_note,
)
from footwork.files.paths import path_text
from footwork.prompts.templates import NAMED, SLOT
from zeroshot.evaluation import ClassRecall, ImageEvaluation, WayScore, WrongImage

_METRICS = {"top_1": "top-1", "top_5": "top-5", "macro_recall": "macro recall"}
_ALL_CLASSES = 20
"""With more classes only the worst are listed."""
_WORST = 10
_NAME_WIDTH, _SHORT_LABEL_WIDTH = 24, 18


def evaluation_text(evaluation: ImageEvaluation) -> str:
    """Lay out the figures, the comparison, the classes, the mistakes and the calibration."""
    confusion = confusion_lines(evaluation.labels, evaluation.confusion, "images")
    if len(evaluation.labels) <= MATRIX_CLASSES and evaluation.wrong:
        confusion += ["", *pair_lines(evaluation.labels, evaluation.confusion, "images")]
    blocks = [
        [_heading(evaluation)],
        _metric_lines(evaluation),
        _comparison_lines(evaluation.ways),
        _class_lines(evaluation.per_class),
        confusion,
        _wrong_lines(evaluation.wrong, Path(evaluation.source)),
        [*calibration_lines(evaluation.calibration, "images"), *_answered_lines(evaluation)],
        [line for note in evaluation.notes for line in wrapped_note(note)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _heading(evaluation: ImageEvaluation) -> str:
    skipped = f" ({len(evaluation.skipped):,} skipped)" if evaluation.skipped else ""
    name = _way_name(evaluation.reported.name, WIDTH)
    return shorten(
        f"{evaluation.images:,} images{skipped}, {len(evaluation.labels)} classes, by {name}", WIDTH
    )


def _metric_lines(evaluation: ImageEvaluation) -> list[str]:
    rows = [["metric", "value", "95 % interval"]]
    for name, interval in evaluation.reported.metrics.items():
        rows.append([_METRICS[name], number(interval.value), _ends(interval)])
    label, share = evaluation.majority
    rows.append([f"always {shorten(label, LABEL_WIDTH)!r}", number(share), ""])
    rows.append(["chance", number(1.0 / len(evaluation.labels)), ""])
    return aligned(rows)


def _comparison_lines(ways: Sequence[WayScore]) -> list[str]:
    if len(ways) < 2:
        return []
    rows = [
        [
            "labelled by",
            "top-1",
            "95 % interval",
            "top-5",
            "macro",
            "change",
            "95 % interval",
            "won/lost",
        ]
    ]
    rows += [_comparison_row(way) for way in ways]
    told = (
        "change: in top-1, from the first, on the same images; its intervals hold together. "
        f"won/lost: images that only this one, only the first has right. {_verdict(ways)}"
    )
    return [*aligned(rows), *wrapped(told)]


def _comparison_row(way: WayScore) -> list[str]:
    top_1, top_5 = way.metrics["top_1"], way.metrics.get("top_5")
    cells = [_way_name(way.name, _NAME_WIDTH), number(top_1.value), _ends(top_1)]
    cells += [number(top_5.value if top_5 else None), number(way.metrics["macro_recall"].value)]
    if way.difference is None:
        return [*cells, "", "", ""]
    change, counts = way.difference.interval, f"{way.difference.won}/{way.difference.lost}"
    return [*cells, f"{change.value:+.3f}", f"{change.low:+.3f} to {change.high:+.3f}", counts]


def _verdict(ways: Sequence[WayScore]) -> str:
    clear = [way for way in ways if way.difference and way.difference.clear]
    first = _way_name(ways[0].name, LABEL_WIDTH)
    if not clear:
        return f"None differs clearly from {first}: what there is may be luck with these images."
    said = []
    for word, sign in (("better", 1), ("worse", -1)):
        names = [
            _way_name(way.name, LABEL_WIDTH)
            for way in clear
            if way.difference and way.difference.interval.value * sign > 0
        ]
        if names:
            said.append(f"clearly {word} than {first}: {', '.join(names)}")
    sentence = "; ".join(said)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _class_lines(classes: Sequence[ClassRecall]) -> list[str]:
    shown: Sequence[ClassRecall] = classes
    title = []
    if len(classes) > _ALL_CLASSES:
        judged = [each for each in classes if each.recall]
        shown = sorted(judged, key=lambda each: (_value(each.recall), -each.images))[:_WORST]
        title = [f"the {len(shown)} classes of lowest recall, of {len(classes)}"]
    rows = [["class", "recall", "95 % interval", "images", "given"]]
    for each in shown:
        ends = _ends(each.recall) if each.recall else ""
        recall = number(each.recall.value if each.recall else None)
        rows.append(
            [shorten(each.label, LABEL_WIDTH), recall, ends, f"{each.images:,}", f"{each.given:,}"]
        )
    return title + aligned(rows)


def _wrong_lines(wrong: Sequence[WrongImage], source: Path) -> list[str]:
    if not wrong:
        return []
    rows = [["image", "shows", "labelled", "probability", "of the right one"]]
    for each in wrong[:_WORST]:
        path = each.path.relative_to(source) if each.path.is_relative_to(source) else each.path
        labels = [shorten(name, _SHORT_LABEL_WIDTH) for name in (each.label, each.given)]
        figures = [number(each.probability), number(each.label_probability)]
        rows.append([path_text(path), *labels, *figures])
    columns = list(zip(*rows, strict=True))[1:]
    room = WIDTH - sum(2 + max(map(display_width, column)) for column in columns)
    rows = [[_tail(row[0], room), *row[1:]] for row in rows]
    many = len(wrong) > _WORST
    return [f"the worst of {len(wrong):,} mistakes" if many else "the mistakes", *aligned(rows)]


def _answered_lines(evaluation: ImageEvaluation) -> list[str]:
    answered = evaluation.answered
    if answered is None:
        return []
    right = "" if answered.accuracy is None else f", {answered.accuracy:.1%} of them the right one"
    return [
        f'where "none of these" is an answer, {answered.share:.1%} of the images get a label{right}'
    ]


def _way_name(name: str, width: int) -> str:
    if name in NAMED:
        return f"{name} ({len(NAMED[name])})"
    if name == SLOT:
        return "the bare label"
    return repr(shorten(name, width - 2)) if SLOT in name else shorten(name, width)


def _ends(interval: Interval) -> str:
    return f"{number(interval.low)} to {number(interval.high)}"


def _value(interval: Interval | None) -> float:
    return interval.value if interval else 0.0


def _tail(text: str, width: int) -> str:
    """Keep the end of a path, which tells more than its beginning."""
    if display_width(text) <= width:
        return text
    while display_width(text) > width - 1:
        text = text[1:]
    return "…" + text
