"""An evaluation on images as lines of a terminal, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from footwork.evaluation.text import (
    ALL_CLASSES,
    LABEL_WIDTH,
    MATRIX_CLASSES,
    WIDTH,
    WORST,
    aligned,
    calibration_lines,
    confusion_lines,
    display_width,
    ends,
    number,
    pair_lines,
    shorten,
    wrapped,
    wrapped_note,
)
from footwork.files.paths import path_text
from footwork.prompts.templates import NAMED, SLOT
from zeroshot.evaluation import ClassRecall, ImageEvaluation, SetScore, WrongImage

_METRICS = {"top_1": "top-1", "top_5": "top-5", "macro_recall": "macro recall"}
_NAME_WIDTH, _SHORT_LABEL_WIDTH = 24, 18


def evaluation_text(evaluation: ImageEvaluation) -> str:
    """Lay out the figures, the comparison, the classes, the mistakes and the calibration."""
    labels, matrix = evaluation.labels, evaluation.confusion
    skipped = f" ({len(evaluation.skipped):,} skipped)" if evaluation.skipped else ""
    name = _set_name(evaluation.reported.name, WIDTH)
    heading = f"{evaluation.images:,} images{skipped}, {len(labels)} classes, by {name}"
    majority, share = evaluation.majority
    metrics = [["metric", "value", "95 % interval"]]
    for metric, interval in evaluation.reported.metrics.items():
        metrics.append([_METRICS[metric], number(interval.value), ends(interval)])
    metrics.append([f"always {shorten(majority, LABEL_WIDTH)!r}", number(share), ""])
    metrics.append(["chance", number(1.0 / len(labels)), ""])
    confusion = confusion_lines(labels, matrix, "images")
    if len(labels) <= MATRIX_CLASSES and evaluation.wrong:
        confusion += ["", *pair_lines(labels, matrix, "images")]
    calibration = calibration_lines(evaluation.calibration, "images")
    if answered := evaluation.answered:
        accuracy = answered.accuracy
        right = "" if accuracy is None else f", {accuracy:.1%} of them the right one"
        calibration.append(
            f'where "none of these" is an answer, {answered.share:.1%} of the images get a label'
            f"{right}"
        )
    blocks = [
        [shorten(heading, WIDTH)],
        aligned(metrics),
        _comparison_lines(evaluation.sets),
        _class_lines(evaluation.per_class),
        confusion,
        _wrong_lines(evaluation.wrong, Path(evaluation.source)),
        calibration,
        [line for note in evaluation.notes for line in wrapped_note(note)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _comparison_lines(sets: Sequence[SetScore]) -> list[str]:
    if len(sets) < 2:
        return []
    between = "95 % interval"
    rows = [["labelled by", "top-1", between, "top-5", "macro", "change", between, "won/lost"]]
    for score in sets:
        top_1, top_5 = score.metrics["top_1"], score.metrics.get("top_5")
        macro = number(score.metrics["macro_recall"].value)
        row = [_set_name(score.name, _NAME_WIDTH), number(top_1.value), ends(top_1)]
        row += [number(top_5.value if top_5 else None), macro, "", "", ""]
        if difference := score.difference:
            change = difference.interval
            row[-3:] = [
                f"{change.value:+.3f}",
                f"{change.low:+.3f} to {change.high:+.3f}",
                f"{difference.won}/{difference.lost}",
            ]
        rows.append(row)
    told = (
        "change: in top-1, from the first, on the same images; its intervals hold together. "
        f"won/lost: images that only this one, only the first has right. {_verdict(sets)}"
    )
    return [*aligned(rows), *wrapped(told)]


def _verdict(sets: Sequence[SetScore]) -> str:
    clear = [score for score in sets if score.difference and score.difference.clear]
    first = _set_name(sets[0].name, LABEL_WIDTH)
    if not clear:
        return f"None differs clearly from {first}: what there is may be luck with these images."
    said = []
    for word, sign in (("better", 1), ("worse", -1)):
        names = [
            _set_name(score.name, LABEL_WIDTH)
            for score in clear
            if score.difference and score.difference.interval.value * sign > 0
        ]
        if names:
            said.append(f"clearly {word} than {first}: {', '.join(names)}")
    sentence = "; ".join(said)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _class_lines(classes: Sequence[ClassRecall]) -> list[str]:
    shown, title = list(classes), []
    if len(classes) > ALL_CLASSES:
        judged = [(each.recall.value, -each.images, each) for each in classes if each.recall]
        shown = [each for *_, each in sorted(judged, key=lambda row: row[:2])[:WORST]]
        title = [f"the {len(shown)} classes of lowest recall, of {len(classes)}"]
    rows = [["class", "recall", "95 % interval", "images", "given"]]
    for each in shown:
        figures = [number(each.recall.value), ends(each.recall)] if each.recall else ["-", ""]
        counts = [f"{each.images:,}", f"{each.given:,}"]
        rows.append([shorten(each.label, LABEL_WIDTH), *figures, *counts])
    return title + aligned(rows)


def _wrong_lines(wrong: Sequence[WrongImage], source: Path) -> list[str]:
    if not wrong:
        return []
    rows = [["image", "shows", "labelled", "probability", "of the right one"]]
    for each in wrong[:WORST]:
        path = each.path.relative_to(source) if each.path.is_relative_to(source) else each.path
        labels = [shorten(name, _SHORT_LABEL_WIDTH) for name in (each.label, each.given)]
        figures = [number(each.probability), number(each.label_probability)]
        rows.append([path_text(path), *labels, *figures])
    columns = list(zip(*rows, strict=True))[1:]
    room = WIDTH - sum(2 + max(map(display_width, column)) for column in columns)
    rows = [[_tail(row[0], room), *row[1:]] for row in rows]
    many = len(wrong) > WORST
    return [f"the worst of {len(wrong):,} mistakes" if many else "the mistakes", *aligned(rows)]


def _set_name(name: str, width: int) -> str:
    if name in NAMED:
        return f"{name} ({len(NAMED[name])})"
    if name == SLOT:
        return "the bare label"
    return repr(shorten(name, width - 2)) if SLOT in name else shorten(name, width)


def _tail(text: str, width: int) -> str:
    """Keep the end of a path, which tells more than its beginning."""
    if display_width(text) <= width:
        return text
    while display_width(text) > width - 1:
        text = text[1:]
    return "…" + text
