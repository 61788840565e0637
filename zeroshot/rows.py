"""Answers as rows: what programs read, and what people read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from footwork.errors import ImageError
from footwork.evaluation.text import display_width, html_table, shorten
from footwork.files.faults import counted
from footwork.files.paths import path_text
from footwork.settings import Documented
from footwork.tables.held import Rows

if TYPE_CHECKING:
    from footwork.images.held import ImageSource

Row = Mapping[str, Any]

MANY = 1000
"""Labels up to which every score is given unless `top_k` says otherwise; of more only the best
are: all scores of 50,000 labels are 2 MB an image that nobody reads."""
NO_LABEL = "(none of these)"
_LABEL_WIDTH = 24  # characters
_SIDE = 96  # pixels of a thumbnail
COLUMNS = ("path", "label", "score", "labels", "fault")
"""Of every `label_row`."""
FURTHER = ("s:", "scores", "z_score", "standing")
"""How others begin: `s:LABEL` of each label in a table; the first version called `z_score` so."""


@dataclass(frozen=True, slots=True)
class LabelledImage(Documented):
    """The answer for one image."""

    path: Path | None
    """None for an image that has none."""
    label: str | None
    """The best label; None where none of them fits, or the image cannot be read."""
    score: float | None = None
    """Of the best label, given or not, 0 to 1; None where the image cannot be read."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of every label, or of the best `top_k`."""
    labels: tuple[str, ...] = ()
    """All that are given, the best first: any number where an image may have several, else one or
    none."""
    label_scores: tuple[float, ...] = ()
    """Of each of `labels`."""
    z_score: float | None = None
    """How far the best label stands above reference prompts, in their standard deviations; None of
    what was taught or fine-tuned."""
    fault: str | None = None
    """Why the image cannot be read."""
    note: str | None = None
    """What to know of a file that could be read, a clause."""


def labels_given(given: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """The fields of a `LabelledImage` that say what labels it has, by these, the best first."""
    labels = tuple(label for label, _ in given)
    own = tuple(of_label for _, of_label in given)
    return {"label": labels[0] if labels else None, "labels": labels, "label_scores": own}


Answer = TypeVar("Answer", bound=LabelledImage)


class ImageAnswers(Rows[Answer]):
    """Answers, in the order of the images; as a frame with the columns of the command's CSV.

    In a notebook the images are shown beside them.

    Args:
        answers: One an image.
        labels: C names, in the order of the scores.
        images: What is shown of them in a notebook: the first ones, at most `SHOWN`.
    """

    def __init__(
        self, answers: Iterable[Answer], labels: Sequence[str], images: Sequence[ImageSource] = ()
    ) -> None:
        super().__init__(answers)
        self.labels = labels
        self._images = [*zip(self, images[: self.SHOWN], strict=False)]  # rows may be moved
        self.columns = flat_row(label_row(LabelledImage(None, None)), labels)

    def __repr__(self) -> str:
        given = Counter(answer.label or NO_LABEL for answer in self)
        said = ", ".join(f"{count} {label}" for label, count in given.most_common(5))
        return f"<{type(self).__name__}: {counted(len(self), 'image')}: {said}>"

    def cells(self, row: Answer) -> dict[str, Any]:
        """Of an answer, as in that CSV."""
        return flat_row(label_row(row), self.labels)

    def _repr_html_(self) -> str:
        from footwork.images.ahead import attempt
        from footwork.images.thumbnails import thumbnail_jpeg

        table: list[tuple[str | bytes, ...]] = [("", "label", "score", "path")]
        for answer in self[: self.SHOWN]:
            held = (image for row, image in self._images if row is answer)
            source = next(held, answer.path)
            made = "" if source is None else attempt(partial(thumbnail_jpeg, side=_SIDE), source)
            label = answer.fault or ", ".join(answer.labels) or NO_LABEL
            score = "" if answer.score is None else f"{answer.score:.3f}"
            path = "" if answer.path is None else path_text(answer.path)
            table.append(("" if isinstance(made, ImageError) else made, label, score, path))
        return f"{html_table(table)}{self._rest()}"


def label_row(answer: LabelledImage) -> dict[str, Any]:
    """One image's row: `path`, `label`, `score`, `scores`, and how they came about.

    `label` is None where none of the labels fits, or the image cannot be read: then `fault` says
    why. `labels` are all that are given, `z_score` is what `none_below` is compared with.
    """
    return {
        "path": None if answer.path is None else path_text(answer.path),
        "label": answer.label,
        "score": answer.score,
        "labels": list(answer.labels),
        "z_score": answer.z_score,
        "fault": answer.fault,
        "scores": answer.scores,
    }


def flat_row(row: Row, labels: Sequence[str]) -> dict[str, Any]:
    """A row of cells, with the score of each label in a column `s:LABEL` of its own.

    Of more than `MANY` labels the scores that were given stand in one column `scores`, as JSON.

    `labels` are all that were asked for; where only the best were given, the others are empty.
    """
    flat = {name: value for name, value in row.items() if name != "scores"}
    flat["labels"] = "; ".join(row["labels"])
    if len(labels) > MANY:
        return flat | {"scores": json.dumps(row["scores"], ensure_ascii=False)}
    return flat | {f"s:{label}": row["scores"].get(label) for label in labels}


def write_label_rows(
    rows: Iterable[Row], path: Path, labels: Sequence[str], *, raw_cells: bool = False
) -> None:
    """Write rows of `label_row` to a file that is complete or absent, as `write_rows` does."""
    from footwork.tables.writer import write_rows

    if path.suffix.lower() != ".jsonl":
        rows = (flat_row(row, labels) for row in rows)
    write_rows(rows, path, _schema, raw_cells=raw_cells)


def table_lines(rows: Iterable[Row], labels: Sequence[str]) -> Iterator[str]:
    """A table for the eye, line by line as the rows come."""
    width = min(max(map(display_width, (*labels, NO_LABEL))), _LABEL_WIDTH)
    yield f"{'label':<{width}}  score  path"
    for row in rows:
        if row["fault"] is not None:
            yield f"{'–':<{width}}      –  {row['path']}: {row['fault']}"
            continue
        label = shorten(", ".join(row["labels"]) or NO_LABEL, width)
        pad = " " * (width - display_width(label))
        yield f"{label}{pad}  {row['score']:5.3f}  {row['path']}"


def _schema(row: Row) -> Any:
    import pyarrow

    texts = ("path", "label", "labels", "fault", "scores")
    kinds = {name: pyarrow.string() for name in texts}
    return pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in row])
