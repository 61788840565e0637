"""Rows in, rows out: the answers to a table of texts, or to a stream of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from footwork.errors import ConfigError, DataError
from footwork.evaluation.decision import Prediction
from footwork.tables.columns import ID_NAMES, find_column, normalise_name
from footwork.tables.format import Expected
from footwork.tables.json_rows import json_rows
from footwork.tables.reader import (
    DETECT,
    RowStream,
    SkippedRow,
    TableFormat,
    iterate_rows,
    write_rows,
)
from footwork.tables.source import TextSource, line_fault, open_to_read_once
from textclf.data.columns import find_text_columns
from textclf.data.rows import text_fault

if TYPE_CHECKING:
    from textclf.classifier import TextClassifier, TextRow

InputFormat = Literal["auto", "lines", "csv", "tsv", "jsonl"]
INPUT_FORMATS = ("auto", "lines", "csv", "tsv", "jsonl")
STANDARD_INPUT = "-"
_DELIMITERS = {"csv": ",", "tsv": "\t"}


def open_rows(
    source: str,
    input_format: InputFormat = "auto",
    table_format: TableFormat = DETECT,
    names: tuple[str, ...] = (),
) -> RowStream:
    """Read rows one by one, in bounded memory.

    Args:
        source: A file, or `-` for standard input.
        input_format: `lines` takes each line as one text, whatever it holds; `auto` looks.
        table_format: What is stated of a table; the rest is detected.
        names: Of columns that are stated or trained on; a first row that holds one is a header.

    Raises:
        DataError: There is no such file, or, while rows are taken, one cannot be read.
    """
    if input_format not in INPUT_FORMATS:
        raise ConfigError(
            f"`format` must be one of {', '.join(INPUT_FORMATS)}, got {input_format!r}."
        )
    path = None if source == STANDARD_INPUT else Path(source).expanduser()
    if input_format in ("lines", "jsonl"):
        return _text_rows(path, input_format, table_format)
    if input_format in _DELIMITERS and table_format.delimiter is None:
        table_format = replace(table_format, delimiter=_DELIMITERS[input_format])
    return iterate_rows(path, table_format, Expected(names=names))


def _text_rows(path: Path | None, input_format: str, table_format: TableFormat) -> RowStream:
    try:
        source = (
            TextSource(path, None, table_format.encoding)
            if path is not None and path.is_file()
            else TextSource(
                None,
                open_to_read_once(path) if path else sys.stdin.buffer,
                table_format.encoding,
            )
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    rows, notes = json_rows(source) if input_format == "jsonl" else (_lines(source), ())
    result = RowStream(source.name, rows, table_format.skip_bad_rows)
    result.notes = (*((source.note,) if source.note else ()), *notes)
    return result


def _lines(source: TextSource) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for row, line in enumerate(source.lines(), start=1):
        yield row, line_fault(line) or {"text": line.rstrip("\r\n")}


FLAT_ENDINGS = (".csv", ".tsv", ".parquet")
_SAMPLE_ROWS = 100
COLUMNS = ("id", "label", "probability", "abstained", "probabilities")
"""Of a prediction row; in a table `p:LABEL` of each class in place of the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """How the rows of a table are read; what is not stated is found."""

    text_columns: tuple[str, ...] = ()
    """One, or two for pairs; empty takes those the model was trained on, else the usual names."""
    id_column: str | None = None
    """None takes a column called id or the like, else the row number."""
    skip_bad_rows: bool = False
    """List rows without a text instead of stopping at the first."""
    source: str = "input"
    """What the rows come from, for messages."""


class PredictedRows(Iterator[dict[str, Any]]):
    """Prediction rows: `id`, `label`, `probability`, `probabilities`, `abstained`.

    Args:
        classifier: Answers.
        rows: (row number, cells by column), of any number.
        options: How they are read.
    """

    def __init__(
        self,
        classifier: TextClassifier,
        rows: Iterable[tuple[int, Mapping[str, Any]]],
        options: PredictOptions,
    ) -> None:
        self.skipped: list[SkippedRow] = []
        """Rows without a text; grows while rows are taken."""
        self._classifier = classifier
        self._options = options
        self._cut_before = classifier.texts_cut
        self._choice: str | None = None
        self._rows = (asdict(answer) for answer in self._answers(iter(rows)))

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the rows taken so far, one sentence each."""
        notes = [self._choice] if self._choice else []
        if cut := self._classifier.texts_cut - self._cut_before:
            verb = "text is" if cut == 1 else "texts are"
            notes.append(
                f"{cut} {verb} longer than {self._classifier.max_length} tokens and lost the rest; "
                "--long windows reads all of a text."
            )
        return tuple(notes)

    def _answers(self, rows: Iterator[tuple[int, Mapping[str, Any]]]) -> Iterator[Prediction]:
        first = list(islice(rows, 1))
        if not first:
            raise DataError(f"{self._options.source} has no rows. Give at least one text.")
        wanted = self._options.text_columns or self._classifier.text_columns
        # An object of JSON may lack what the next one has; lines are answered as they come.
        if first[0][1].keys() != {"text"} and not first[0][1].keys() >= set(wanted):
            first += islice(rows, _SAMPLE_ROWS)
        columns = list(dict.fromkeys(name for _, cells in first for name in cells))
        reader, self._choice = row_reader(self._classifier, columns, self._options)
        yield from self._classifier.stream(self._readable(chain(first, rows), reader))

    def _readable(
        self, rows: Iterable[tuple[int, Mapping[str, Any]]], reader: RowReader
    ) -> Iterator[TextRow]:
        for number, cells in rows:
            fault = reader.fault(cells)
            if fault is None:
                yield reader.text_row(number, cells)
            elif self._options.skip_bad_rows:
                self.skipped.append(SkippedRow(number, fault, self._options.source))
            else:
                raise DataError(
                    f"{self._options.source}, row {number}: {fault}. "
                    "Mend the row, or leave bad rows out with --skip-bad-rows."
                )


@dataclass(frozen=True, slots=True)
class RowReader:
    """Where a row's id and texts stand."""

    text_columns: tuple[str, ...]
    """One, or two for pairs."""
    id_column: str | None

    def fault(self, cells: Mapping[str, Any]) -> str | None:
        """Why the row has no text, None if it has; an empty text is one."""
        faults = (text_fault(cells.get(name), name) for name in self.text_columns)
        return next(filter(None, faults), None)

    def text_row(self, number: int, cells: Mapping[str, Any]) -> TextRow:
        """The row as the classifier takes it."""
        from textclf.classifier import TextRow

        identity = cells.get(self.id_column) if self.id_column else None
        texts = [str(cells[name]) for name in self.text_columns]
        return TextRow(str(number if identity is None else identity), *texts)


def predict_rows(
    classifier: TextClassifier,
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    options: PredictOptions | None = None,
) -> PredictedRows:
    """Answer the rows of a table: one out for each one in, in their order.

    Rows are read a bounded window ahead, so they may be of any number.

    Args:
        classifier: Answers.
        rows: (row number, cells by column), as `footwork.tables.reader.iterate_rows` gives them.
        options: How they are read.

    Returns:
        The answers as dictionaries; `skipped` and `notes` are complete when they are all taken.

    Raises:
        DataError: While rows are taken: no text column, no rows, a row without a text.
    """
    return PredictedRows(classifier, rows, options or PredictOptions())


def write_predictions(
    rows: Iterable[Mapping[str, Any]], path: Path, *, raw_cells: bool = False
) -> None:
    """Write prediction rows to a file that is complete or absent.

    In .csv, .tsv and .parquet each class has a column `p:<label>`, in .jsonl the probabilities
    are one object.

    Args:
        rows: Of `predict_rows`.
        path: Of the file.
        raw_cells: As of `write_rows`.

    Raises:
        ConfigError: `path` has another ending.
        DataError: The file cannot be written.
    """
    flat = path.suffix.lower() in FLAT_ENDINGS
    write_rows(map(flat_row, rows) if flat else rows, path, _schema, raw_cells=raw_cells)


def _schema(row: Mapping[str, Any]) -> Any:
    """Arrow types of flat rows like this one: the first thousands may lack labels or values."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.float64()
    label = pyarrow.list_(text) if isinstance(row["label"], list) else text
    if isinstance(row["label"], float):
        label = number
    types = {"id": text, "label": label, "abstained": pyarrow.bool_()}
    return pyarrow.schema([(name, types.get(name, number)) for name in row])


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction row with its probabilities as columns `p:<label>`."""
    flat = {name: value for name, value in row.items() if name != "probabilities"}
    return flat | {f"p:{label}": value for label, value in row["probabilities"].items()}


def row_reader(
    classifier: TextClassifier, names: Sequence[str], options: PredictOptions
) -> tuple[RowReader, str | None]:
    """Find the columns of a table, and what is to be said of the choice.

    Raises:
        DataError: They are missing, or their number is not the model's.
    """
    known, source, note = classifier.text_columns, options.source, None
    by_name = dict.fromkeys(names)
    if options.text_columns:
        columns = tuple(find_column(by_name, name, source) for name in options.text_columns)
        require_text_count(known, columns, source)
    else:
        columns, note = find_text_columns(names, known, classifier.label_column, source)
    if options.id_column:
        return RowReader(columns, find_column(by_name, options.id_column, source)), note
    ids = [name for name in names if normalise_name(name) in ID_NAMES and name not in columns]
    return RowReader(columns, ids[0] if ids else None), note


def require_text_count(known: Sequence[str], columns: Sequence[str], source: str) -> None:
    """Refuse a table with another number of texts a row than the model takes.

    Args:
        known: Text columns of the training; empty where that is not known.
        columns: Text columns of the table.
        source: Named in the error.

    Raises:
        DataError: The numbers differ.
    """
    if known and len(columns) != len(known):
        raise DataError(
            f"The model takes {len(known)} text{'s' * (len(known) > 1)} a row, {source} has "
            f"{len(columns)}: {', '.join(columns)}. Name the columns with --text-column."
        )
