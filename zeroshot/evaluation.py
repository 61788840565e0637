"""What labelled images say of one prompt set, next to others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from footwork.arrays import IntArray
from footwork.errors import ConfigError, ModelError
from footwork.evaluation import text
from footwork.evaluation.calibration import Calibration
from footwork.evaluation.metrics import Interval, PairedDifference
from footwork.files.faults import counted
from footwork.files.paths import path_text
from footwork.prompts.templates import NAMED, SLOT
from zeroshot.labelled_images import SkippedImage

REPORT = "zeroshot evaluate"
"""The `application` in the manifest of a report."""
TOP = 5
"""Labels that `top_5` looks at."""
_METRICS = {"top_1": "top-1", "top_5": "top-5", "macro_recall": "macro recall"}
_NAME_WIDTH, _SHORT_LABEL_WIDTH = 24, 18


@dataclass(frozen=True, slots=True)
class SetScore:
    """How good the labels of a prompt set are, or those of a taught classifier."""

    name: str
    metrics: dict[str, Interval]
    """`top_1`, `top_5` (absent for 5 classes or fewer) and `macro_recall`, the mean recall of the
    classes, each with its 95 % interval."""
    difference: PairedDifference | None
    """Of `top_1`, from the set that is reported; None for that one itself."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"difference": self.difference and self.difference.to_dict()}


@dataclass(frozen=True, slots=True)
class ClassRecall:
    """How many images of one class were found."""

    label: str
    recall: Interval | None
    """With Wilson's 95 % interval; None without an image."""
    images: int
    """Of the class."""
    given: int
    """Images that were given the label."""


@dataclass(frozen=True, slots=True)
class WrongImage:
    """An image that was given the label of another class."""

    path: Path
    label: str
    """What it shows."""
    given: str
    probability: float
    """Of the label given; for SigLIP's sigmoids, that this label holds."""
    label_probability: float
    """Of the right label."""
    rank: int
    """Place of the right label, from 2."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What is left when "none of these" is an answer, though each image shows one of the labels."""

    share: float
    """Of the images that get a label."""
    accuracy: float | None
    """Share of these that get the right one; None where none gets any."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageEvaluation(text.Shown):
    """What N labelled images say of the prompt sets that label them."""

    source: str
    """The folder or the table."""
    fingerprint: str
    """Of the model and its preprocessing."""
    labels: tuple[str, ...]
    """C names."""
    sets: tuple[SetScore, ...]
    """The first is the reported one."""
    majority: tuple[str, float]
    """The commonest class, and its share of the images: what a constant answer has right."""
    per_class: tuple[ClassRecall, ...]
    confusion: IntArray
    """Shape (C, C), true by given."""
    calibration: Calibration
    """Of the model's own probabilities, and after a temperature."""
    answered: Answered | None
    """None where every image gets a label."""
    wrong: tuple[WrongImage, ...]
    """The worst first: where the label given stands highest above the right one."""
    skipped: tuple[SkippedImage, ...]
    """Not counted anywhere."""
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        """N, without those that were skipped."""
        return int(self.confusion.sum())

    @property
    def reported(self) -> SetScore:
        """The set whose details these are."""
        return self.sets[0]

    @property
    def summary(self) -> str:
        """What was judged, and how good it was found."""
        top_1 = self.reported.metrics["top_1"]
        found = f"top-1 {text.number(top_1.value)} ({text.ends(top_1)})"
        return f"{counted(self.images, 'image')}, by {self.reported.name}: {found}"

    def to_pandas(self, *, per_class: bool = False) -> Any:
        """A DataFrame of the metrics by what labelled, or of the classes, a row each."""
        import pandas

        if per_class:
            rows = [asdict(each) for each in self.per_class]
            found = [row.pop("recall") or dict.fromkeys(("value", "low", "high")) for row in rows]
            frame = pandas.DataFrame(row | own for row, own in zip(rows, found, strict=True))
            return frame.rename(columns={"value": "recall"})
        return pandas.DataFrame(
            {"labelled_by": score.name, "metric": name, **interval.to_dict()}
            for score in self.sets
            for name, interval in score.metrics.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; of the confusion only cells that are not 0, which are few of many."""
        names = self.labels
        confusion = {
            name: {names[j]: int(row[j]) for j in np.nonzero(row)[0]}
            for name, row in zip(names, self.confusion, strict=True)
        }
        return {
            "source": self.source,
            "model": self.fingerprint,
            "labels": list(self.labels),
            "images": self.images,
            "ways": [each.to_dict() for each in self.sets],
            "majority": {"label": self.majority[0], "accuracy": self.majority[1]},
            "chance": 1.0 / len(self.labels),
            "per_class": [asdict(each) for each in self.per_class],
            "confusion": confusion,
            "calibration": self.calibration.to_dict(),
            "answered": asdict(self.answered) if self.answered else None,
            "wrong": [self._wrong_row(each) for each in self.wrong],
            "skipped": [asdict(each) for each in self.skipped],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Lay it out for a terminal of 100 columns."""
        labels, matrix = self.labels, self.confusion
        skipped = f" ({len(self.skipped):,} skipped)" if self.skipped else ""
        name = _set_name(self.reported.name, text.WIDTH)
        heading = f"{counted(self.images, 'image')}{skipped}, {len(labels)} classes, by {name}"
        majority, share = self.majority
        metrics = [["metric", "value", "95 % interval"]]
        for metric, interval in self.reported.metrics.items():
            metrics.append([_METRICS[metric], text.number(interval.value), text.ends(interval)])
        commonest = text.shorten(majority, text.LABEL_WIDTH)
        metrics.append([f"always {commonest!r}", text.number(share), ""])
        metrics.append(["chance", text.number(1.0 / len(labels)), ""])
        confusion = text.confusion_lines(labels, matrix, "images")
        if len(labels) <= text.MATRIX_CLASSES and self.wrong:
            confusion += ["", *text.pair_lines(labels, matrix, "images")]
        calibration = text.calibration_lines(self.calibration, "images")
        if answered := self.answered:
            accuracy = answered.accuracy
            right = "" if accuracy is None else f", {accuracy:.1%} of them the right one"
            calibration.append(
                f'where "none of these" is an answer, {answered.share:.1%} of the images get a '
                f"label{right}"
            )
        blocks = [
            [text.shorten(heading, text.WIDTH)],
            text.aligned(metrics),
            _comparison_lines(self.sets),
            _class_lines(self.per_class),
            confusion,
            _wrong_lines(self.wrong, Path(self.source)),
            calibration,
            [line for note in self.notes for line in text.wrapped_note(note)],
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def write_report(self, folder: Path) -> tuple[str, ...]:
        """Write `metrics.json`, `wrong.csv` and what pictures there are; the folder appears whole.

        Returns:
            What could not be written and how to have it, a sentence each.

        Raises:
            ConfigError: Something else than an earlier report stands there.
        """
        from footwork.evaluation.plots import plot_confusion, plot_reliability
        from footwork.files.folders import MANIFEST, published_folder, write_json
        from footwork.tables.writer import write_rows

        require_report_place(folder)
        with published_folder(folder, overwrite=True) as staging:
            write_json(staging / "metrics.json", self.to_dict())
            write_rows(map(self._wrong_row, self.wrong), staging / "wrong.csv")
            write_json(staging / MANIFEST, {"footwork": version("footwork"), "application": REPORT})
            try:
                bins = self.calibration.bins_before, self.calibration.bins_after
                plot_confusion(self.confusion, self.labels, staging / "confusion.png")
                plot_reliability(*bins, staging / "reliability.png")
            except ConfigError as error:
                return (f"No pictures in {folder}. {error}",)
        return ()

    def _wrong_row(self, wrong: WrongImage) -> dict[str, Any]:
        return asdict(wrong) | {"path": path_text(wrong.path)}


def require_report_place(folder: Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """See that a report can be written, before there is anything to report.

    A `ConfigError` where the folder holds something else than an earlier report, or an input.
    """
    from footwork.files.folders import read_manifest, require_free

    others = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    manifest: dict[str, Any] = {}
    with suppress(ModelError):  # it was changed, and is the user's now
        manifest = read_manifest(folder)
    if others and manifest.get("application") != REPORT:
        raise ConfigError(f"{folder} holds something else than a report. Name a new folder.")
    require_free(folder, True, inputs)


def _comparison_lines(sets: Sequence[SetScore]) -> list[str]:
    if len(sets) < 2:
        return []
    between = "95 % interval"
    rows = [["labelled by", "top-1", between, "top-5", "macro", "change", between, "won/lost"]]
    for score in sets:
        top_1, top_5 = score.metrics["top_1"], score.metrics.get("top_5")
        macro = text.number(score.metrics["macro_recall"].value)
        row = [_set_name(score.name, _NAME_WIDTH), text.number(top_1.value), text.ends(top_1)]
        row += [text.number(top_5.value if top_5 else None), macro, "", "", ""]
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
    return [*text.aligned(rows), *text.wrapped(told)]


def _verdict(sets: Sequence[SetScore]) -> str:
    clear = [score for score in sets if score.difference and score.difference.clear]
    first = _set_name(sets[0].name, text.LABEL_WIDTH)
    if not clear:
        return f"None differs clearly from {first}: what there is may be luck with these images."
    said = []
    for word, sign in (("better", 1), ("worse", -1)):
        names = [
            _set_name(score.name, text.LABEL_WIDTH)
            for score in clear
            if score.difference and score.difference.interval.value * sign > 0
        ]
        if names:
            said.append(f"clearly {word} than {first}: {', '.join(names)}")
    sentence = "; ".join(said)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _class_lines(classes: Sequence[ClassRecall]) -> list[str]:
    shown, title = list(classes), []
    if len(classes) > text.ALL_CLASSES:
        judged = [(each.recall.value, -each.images, each) for each in classes if each.recall]
        shown = [each for *_, each in sorted(judged, key=lambda row: row[:2])[: text.WORST]]
        title = [f"the {len(shown)} classes of lowest recall, of {len(classes)}"]
    rows = [["class", "recall", "95 % interval", "images", "given"]]
    for each in shown:
        figures = ["-", ""]
        if each.recall:
            figures = [text.number(each.recall.value), text.ends(each.recall)]
        counts = [f"{each.images:,}", f"{each.given:,}"]
        rows.append([text.shorten(each.label, text.LABEL_WIDTH), *figures, *counts])
    return title + text.aligned(rows)


def _wrong_lines(wrong: Sequence[WrongImage], source: Path) -> list[str]:
    if not wrong:
        return []
    rows = [["image", "shows", "labelled", "probability", "of the right one"]]
    for each in wrong[: text.WORST]:
        path = each.path.relative_to(source) if each.path.is_relative_to(source) else each.path
        labels = [text.shorten(name, _SHORT_LABEL_WIDTH) for name in (each.label, each.given)]
        figures = [text.number(each.probability), text.number(each.label_probability)]
        rows.append([path_text(path), *labels, *figures])
    columns = list(zip(*rows, strict=True))[1:]
    room = text.WIDTH - sum(2 + max(map(text.display_width, column)) for column in columns)
    rows = [[text.tail(row[0], room), *row[1:]] for row in rows]
    many = len(wrong) > text.WORST
    return [
        f"the worst of {len(wrong):,} mistakes" if many else "the mistakes",
        *text.aligned(rows),
    ]


def _set_name(name: str, width: int) -> str:
    if name in NAMED:
        return f"{name} ({len(NAMED[name])})"
    if name == SLOT:
        return "the bare label"
    return repr(text.shorten(name, width - 2)) if SLOT in name else text.shorten(name, width)
