"""Answers as rows: what programs read, and what people read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from footwork.evaluation.text import display_width, shorten
from footwork.files.paths import path_text
from zeroshot.classifier import MANY, LabelledImage

Row = Mapping[str, Any]

NONE = "(none of these)"
_LABEL_WIDTH = 24  # characters
COLUMNS = ("path", "label", "score", "labels", "z_score", "fault", "scores")
"""Of `label_row`; in a table `s:LABEL` of each label in place of the last."""
FORMER_COLUMNS = ("standing",)
"""What the first version called `z_score`: its tables are replaced as ours are."""


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
    width = min(max(map(display_width, (*labels, NONE))), _LABEL_WIDTH)
    yield f"{'label':<{width}}  score  path"
    for row in rows:
        if row["fault"] is not None:
            yield f"{'–':<{width}}      –  {row['path']}: {row['fault']}"
            continue
        label = shorten(", ".join(row["labels"]) or NONE, width)
        pad = " " * (width - display_width(label))
        yield f"{label}{pad}  {row['score']:5.3f}  {row['path']}"


def _schema(row: Row) -> Any:
    import pyarrow

    texts = ("path", "label", "labels", "fault", "scores")
    kinds = {name: pyarrow.string() for name in texts}
    return pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in row])
