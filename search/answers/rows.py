"""Answers as rows: what programs read, and what people read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from footwork.files.paths import path_line, path_text
from search.answers.answer import Answer, Hit

Row = Mapping[str, Any]

_HEAD = "rank  relevance   score  path"
_NARROWEST_PATH = 20  # columns; a narrower terminal wraps it
_NOT_THERE = "  (not there)"
_BEGINNING = datetime(1970, 1, 1)
COLUMNS = (
    "path",
    "score",
    "relevance",
    "format",
    "width",
    "height",
    "bytes",
    "date",
    "date_from",
    "camera",
    "labels",
    "missing",
)
"""Of `hit_row`, where a path is UTF-8."""


def answer_document(answer: Answer) -> dict[str, Any]:
    """An answer for programs: `query`, `hits`, `nothing_matches`; valid JSON for any file name.

    Of a query that could not be asked also `fault`: why.
    """
    fault = {} if answer.fault is None else {"fault": answer.fault}
    return fault | {
        "query": path_text(answer.query),  # it may name an image
        "hits": [hit_row(hit) for hit in answer.hits],
        "nothing_matches": answer.nothing_matches,
    }


def hit_row(hit: Hit) -> dict[str, Any]:
    r"""One image: `path`, `score`, `relevance`, and what is known of its file.

    `missing` says whether the file was looked for, and is not there.
    Bytes of a path that are no UTF-8 stand as `\xNN`; `path_bytes` gives them as they are.
    """
    record = hit.record
    return {
        "path": path_text(record.path),
        "score": float(hit.score),
        "relevance": float(hit.relevance),
        "format": record.format,
        "width": record.width,
        "height": record.height,
        "bytes": record.size,
        "date": None if record.date is None else date_text(record.date),
        "date_from": record.date_from,
        "camera": record.camera,
        "labels": None if record.labels is None else dict(record.labels),
        "missing": hit.missing is not None,
    }


def flat_rows(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """The hits of all answers as rows of cells, led by their `query` where there are several.

    Labels stand in one cell, the best first.
    """
    for row in _nested_rows(answers):
        yield row | {"labels": "; ".join(_best_first(row["labels"] or {}))}


def write_hits(answers: Sequence[Answer], path: Path, *, raw_cells: bool = False) -> None:
    """Write the hits of all answers to a file that is complete or absent.

    Args:
        answers: Of any number; with several, rows are led by their `query`.
        path: Ends in .csv, .tsv, .parquet, or in .jsonl, where labels keep their scores.
        raw_cells: As of `write_rows`.

    Raises:
        ConfigError: `path` has another ending.
        DataError: The file cannot be written.
    """
    from footwork.tables.writer import write_rows

    rows = _nested_rows(answers) if path.suffix.lower() == ".jsonl" else flat_rows(answers)
    columns = COLUMNS if len(answers) == 1 else ("query", *COLUMNS)
    write_rows(rows, path, _schema, columns, raw_cells=raw_cells)


def path_bytes(answers: Iterable[Answer], end: Literal[b"\n", b"\0"]) -> Iterator[bytes]:
    """The path of each hit as the file system has it, byte for byte, and `end` behind it."""
    return (os.fsencode(hit.record.path) + end for answer in answers for hit in answer.hits)


def answer_lines(answer: Answer, width: int | None = None) -> Iterator[str]:
    """A table for the eye; where nothing matches, a sentence that says so.

    Args:
        answer: To be shown.
        width: Columns of the terminal, which shorten a long path from its beginning; None keeps
            paths whole, to be copied or read by programs.
    """
    if answer.fault is not None:
        yield f"Not asked: {path_line(answer.fault)}."
    if answer.nothing_matches:
        yield _nothing_line(answer)
    if not answer.hits:
        return
    yield _HEAD
    from footwork.evaluation.text import tail  # a table alone needs it

    room = None if width is None else max(width - _HEAD.index("path"), _NARROWEST_PATH)
    for rank, hit in enumerate(answer.hits, start=1):
        path, mark = path_line(hit.record.path), _NOT_THERE if hit.missing else ""
        shown = path if room is None else tail(path, max(room - len(mark), _NARROWEST_PATH))
        yield f"{rank:4}  {hit.relevance:9.2f}  {hit.score:6.3f}  {shown}{mark}"


def date_text(date: int) -> str | None:
    """A date of an image in ISO 8601, without a time zone; None beyond the years 1 to 9999."""
    try:
        return (_BEGINNING + timedelta(seconds=date)).isoformat()
    except OverflowError:
        return None


def label_names(hit: Hit) -> list[str]:
    """The labels of an image, the best first."""
    return _best_first(hit.record.labels or {})


def _best_first(labels: Mapping[str, float]) -> list[str]:
    return sorted(labels, key=lambda name: -labels[name])


def _nested_rows(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    for answer in answers:
        query = {"query": path_text(answer.query)} if len(answers) > 1 else {}
        yield from (query | hit_row(hit) for hit in answer.hits)


def _schema(row: Row) -> Any:
    import pyarrow

    kinds = {"score": pyarrow.float64(), "relevance": pyarrow.float64()}
    kinds |= {name: pyarrow.int64() for name in ("width", "height", "bytes")}
    kinds["missing"] = pyarrow.bool_()
    return pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in row])


def _nothing_line(answer: Answer) -> str:
    said = f"Nothing here matches “{path_line(answer.query)}”"
    best = answer.nearest
    if best is None:
        return f"{said}."
    path, mark = path_line(best.record.path), _NOT_THERE.lstrip() + ", " if best.missing else ""
    return f"{said}; the nearest is {path}, {mark}with relevance {best.relevance:.2f}."
