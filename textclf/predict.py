"""Rows in, rows out: the answers to a table of texts, or to a stream of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from footwork.errors import ConfigError, DataError, require_one_of
from footwork.evaluation.decision import Prediction, flat_row
from footwork.files.faults import counted, shortened
from footwork.files.paths import user_path
from footwork.tables.columns import find_column
from footwork.tables.held import data_name, is_held
from footwork.tables.layout import DETECT, Expected, TableFormat
from footwork.tables.reader import RowStream, iterate_rows, json_rows
from footwork.tables.source import TextSource, line_fault, open_to_read_once
from footwork.tables.splits import JUDGED, Notes, one_split
from footwork.tables.writer import write_rows
from textclf.columns import find_text_columns, id_column, row_id
from textclf.config import TextOptions
from textclf.data import lacks_text, text_fault
from textclf.sources import opened_rows, splits_in

if TYPE_CHECKING:
    from footwork.finetuning.train import TrainedRun
    from textclf.classifier import TextClassifier, TextRow

InputFormat = Literal["auto", "lines", "csv", "tsv", "jsonl"]
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_SAMPLE_ROWS = 100
COLUMNS = ("id", "label", "probability", "abstained")
"""Of every prediction row."""
FURTHER = ("p:", "probabilities")
"""How others begin: in a table `p:LABEL` of each class, else one of them all."""
FIND_OUT = TextOptions()


def predict_rows(
    classifier: TextClassifier | TrainedRun | Path | str,
    data: Any,
    options: TextOptions = FIND_OUT,
    input_format: InputFormat = "auto",
    *,
    keep_columns: bool = False,
    revision: str | None = None,
) -> PredictedRows:
    """Answer the rows of a table: one out for each one in, in their order.

    Rows are read a bounded window ahead, so they may be of any number.

    Args:
        classifier: One that is loaded, or the run, the folder or the Hub id of one.
        data: A file, `-` for standard input, a folder or the id of a data set on the Hub (of
            several splits the test); a list of rows, a frame of pandas or polars, a `Dataset`; or
            what `open_rows` of this module gives.
        options: Which columns are read; texts stand in those of the training, else of usual names.
        input_format: `lines` takes each line of a file as one text, whatever it holds.
        keep_columns: Put the row's own columns beside its answer: one of them that has the name of
            an answer's as `input:` and the name.
        revision: Branch, tag or commit of a classifier on the Hub.

    Returns:
        The answers as dictionaries, once each; `skipped` and `notes` are complete when they are all
        taken.

    Raises:
        ConfigError: The classifier is none of texts, or `input_format` is none, or of no file, or
            `revision` is given with one that is loaded.
        ModelError: Its folder cannot be loaded.
        DataError: There is no such file or data set; while rows are taken: no text column, no rows,
            a row without a text.
        TypeError: `data` is nothing of the kind.
    """
    from textclf.classifier import opened_classifier

    options = TextOptions.given("options", options)
    classifier = opened_classifier(classifier, None, revision)
    if not isinstance(data, RowStream):
        names = (*options.column_names, *classifier.text_columns)
        data = open_rows(data, input_format, options.table_format, names)
    return PredictedRows(classifier, data, options, keep_columns)


def open_rows(
    source: Any,
    input_format: InputFormat = "auto",
    table_format: TableFormat = DETECT,
    names: tuple[str, ...] = (),
) -> RowStream:
    """Read rows one by one, in bounded memory.

    Args:
        source: As `find_splits` takes it, or `-` for standard input; of several splits test if
            there is one, else validation, else train. One file, where `input_format` says which.
        input_format: `lines` takes each line as one text, whatever it holds; `auto` looks.
        table_format: What is stated of a table; the rest is detected.
        names: Of columns that are stated or trained on; a first row that holds one is a header.

    Raises:
        DataError: There is no such file, or, while rows are taken, one cannot be read.
    """
    _require_format(source, input_format, table_format)
    notes: Notes = ()
    if input_format == "auto" and (is_held(source) or str(source) != "-"):
        part, notes = one_split(source, splits_in, JUDGED)
        source = part.data
        if is_held(source):
            rows = opened_rows(part, table_format)
            rows.notes = (*notes, *rows.notes)
            return rows
    path = None if str(source) == "-" else user_path(source)
    if input_format not in ("lines", "jsonl"):
        if input_format in _DELIMITERS and table_format.delimiter is None:
            table_format = replace(table_format, delimiter=_DELIMITERS[input_format])
        rows = iterate_rows(path, table_format, Expected(names=names))
        rows.notes = (*notes, *rows.notes)
        return rows
    try:
        stream = sys.stdin.buffer if path is None else None
        if path is not None and not path.is_file():
            stream = open_to_read_once(path)
        text = TextSource(None if stream else path, stream, table_format.encoding)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    lines = (line_fault(line) or {"text": line.rstrip("\r\n")} for line in text.lines())
    numbered, notes = json_rows(text) if input_format == "jsonl" else (enumerate(lines, 1), ())
    result = RowStream(text.name, numbered, table_format.skip_bad_rows)
    result.notes = (*((text.note,) if text.note else ()), *notes)
    return result


def _require_format(source: Any, input_format: InputFormat, table_format: TableFormat) -> None:
    require_one_of("input_format", input_format, get_args(InputFormat))
    if is_held(source) and input_format != "auto":
        raise ConfigError(
            f"`input_format` is that of a file, got {input_format!r} and {data_name(source)}, "
            "which are in memory. Leave it out."
        )
    if input_format == "lines" and (table_format.header or table_format.delimiter is not None):
        raise ConfigError(
            "With --format lines each line is a text, and none a header. Leave out --header and "
            "--delimiter, or take --format csv."
        )


class PredictedRows(Iterator[dict[str, Any]]):
    """Prediction rows: `id`, `label`, `probability`, `probabilities`, `abstained`, what is kept."""

    def __init__(
        self,
        classifier: TextClassifier,
        stream: RowStream,
        options: TextOptions,
        keep_columns: bool = False,
    ) -> None:
        self.skipped = stream.skipped
        """Rows without a text; grows while rows are taken."""
        self.empty: list[int] = []
        """Numbers of the rows whose text is empty: answered, and marked as abstained."""
        self._classifier = classifier
        self._stream = stream
        self._options = options
        self._cut = 0
        self._choice: str | None = None
        self._keep_columns = keep_columns
        self._kept: dict[str, str] = {}
        self._late: dict[str, None] = {}
        self._all_taken = self._broken_off = False
        self._rows = self._as_rows()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """What is left of them; a `DataError` where none are, or an error ended them before."""
        if self._all_taken:
            raise DataError(
                f"The answers to {self._stream.source} were taken already, and are not kept. Keep "
                "them in a list, or as to_pandas(), or call predict_rows anew."
            )
        self._require_whole()
        yield from chain(self._rows)  # which stay open: who leaves a loop may go on in the next
        self._all_taken = True

    def __next__(self) -> dict[str, Any]:
        self._require_whole()
        for row in self._rows:
            return row
        self._all_taken = True
        raise StopIteration

    def __repr__(self) -> str:
        of = "all taken" if self._all_taken else "take them one by one, or as to_pandas()"
        of = "broken off" if self._broken_off else of
        return f"<{type(self).__name__}: answers to {self._stream.source}, {of}>"

    def to_pandas(self) -> Any:
        """A DataFrame of the rows that are left, with the columns of the command's CSV."""
        import pandas

        return pandas.DataFrame(map(flat_row, self))

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a row of the command's CSV, as the first one tells; none where there is no row."""
        first = list(islice(self._rows, 1))
        self._rows = chain(first, self._rows)
        return tuple(name for row in first for name in flat_row(row))

    @property
    def types(self) -> dict[str, Any]:
        """Types of Arrow of the columns that are kept, where they are known."""
        known = self._stream.types
        return {own: known[name] for name, own in self._kept.items() if name in known}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the rows taken so far, one sentence each."""
        notes = [*self._stream.notes, *([self._choice] if self._choice else [])]
        if changed := [f"{name!r} as {own!r}" for name, own in self._kept.items() if name != own]:
            notes.append(f"Columns with names of the answer's own are kept: {', '.join(changed)}.")
        if self._late:
            late = shortened(map(repr, self._late))
            notes.append(f"Not kept, as none of the first rows has such a column: {late}.")
        if self._cut:
            notes.append(cut_note(self._cut, self._classifier))
        if self.empty:
            rows = counted(len(self.empty), "row has an empty text", "rows have an empty text")
            notes.append(
                f"{rows} and {'is' if len(self.empty) == 1 else 'are'} marked as abstained, "
                f"whatever the answer: {shortened(map(str, self.empty))}."
            )
        return tuple(notes)

    def _require_whole(self) -> None:
        if self._broken_off:
            raise DataError(
                f"The answers to {self._stream.source} broke off, and those taken are not kept. "
                "Call predict_rows anew."
            )

    def _as_rows(self) -> Iterator[dict[str, Any]]:
        try:
            yield from (answer.to_row() for answer in self._answers())
        except BaseException:  # after which Python takes the generator for one that has ended
            self._broken_off = True
            raise

    def _answers(self) -> Iterator[Prediction]:
        classifier, source = self._classifier, self._stream.source
        known, stated = classifier.text_columns, self._options.text_columns
        first = list(islice(self._stream, 1))
        if not first:
            raise DataError(f"{source} has no rows. Give at least one text.")
        # An object of JSON may lack what the next one has; lines are answered as they come.
        identity = self._options.id_column
        wanted = {*(stated or known), *filter(None, [identity])}
        lacking = self._keep_columns or not first[0][1].keys() >= wanted
        if (identity or first[0][1].keys() != {"text"}) and lacking:
            first += islice(self._stream, _SAMPLE_ROWS)
        names = dict.fromkeys(name for _, cells in first for name in cells)
        if stated:
            texts = tuple(find_column(names, name, source) for name in stated)
            require_text_count(known, texts, source)
        else:
            label = classifier.label_column
            texts, self._choice = find_text_columns(list(names), known, label, source)
        identity = id_column(names, self._options.id_column, texts, source)
        for name in names if self._keep_columns else ():
            own = name
            while own in COLUMNS or own.startswith(FURTHER) or (own != name and own in names):
                own = f"input:{own}"
            if not (name == identity == "id"):
                self._kept[name] = own
        rows = self._readable(chain(first, self._stream), texts, identity)
        yield from self._counted(classifier.stream(rows))

    def _counted(self, answers: Iterator[Prediction]) -> Iterator[Prediction]:
        """The answers; texts that other runs of the classifier cut meanwhile are not these."""
        answer: Prediction | None
        while True:
            before = self._classifier.texts_cut
            answer = next(answers, None)
            self._cut += self._classifier.texts_cut - before
            if answer is None:
                return
            yield answer

    def _readable(
        self,
        rows: Iterable[tuple[int, Mapping[str, Any]]],
        texts: Sequence[str],
        identity: str | None,
    ) -> Iterator[TextRow]:
        from textclf.classifier import TextRow

        for number, cells in rows:
            if fault := text_fault(map(cells.get, texts), texts):
                self._stream.leave_out(number, fault)
                continue
            own = row_id(cells.get(identity) if identity else None, number)
            found = [str(cells[name]) for name in texts]
            if lacks_text(*found):
                self.empty.append(number)
            if self._keep_columns:
                self._late |= dict.fromkeys(
                    name for name in cells if name not in self._kept and name != identity
                )
            kept = {new: cells.get(name) for name, new in self._kept.items()}
            pair = found[1] if len(found) > 1 else None
            yield TextRow(own, found[0], pair, kept)


def write_predictions(
    rows: Iterable[Mapping[str, Any]], path: Path, *, raw_cells: bool = False
) -> None:
    """Write rows of `predict_rows` as `write_rows` does.

    In .csv, .tsv and .parquet each class has a column `p:<label>`, in .jsonl the probabilities
    are one object. Columns that were kept have in .parquet the types that they had there.
    """

    def schema(row: Mapping[str, Any]) -> Any:
        """Arrow types of flat rows like this one: the first thousands may lack labels or values."""
        import pyarrow

        text, number = pyarrow.string(), pyarrow.float64()
        label = pyarrow.list_(text) if isinstance(row["label"], list) else text
        if isinstance(row["label"], float):
            label = number
        types = {"id": text, "label": label, "abstained": pyarrow.bool_()}
        own = {name: number for name in row if name in COLUMNS or name.startswith("p:")}
        return pyarrow.schema((own | types | getattr(rows, "types", {})).items())

    flat = path.suffix.lower() != ".jsonl"
    write_rows(map(flat_row, rows) if flat else rows, path, schema, raw_cells=raw_cells)


def cut_note(cut: int, classifier: TextClassifier) -> str:
    """What is to be said of so many texts that were cut."""
    if classifier.long == "windows":
        pairs = counted(cut, "pair has", "pairs have")
        return (
            f"{pairs} two long texts: of {classifier.max_length} tokens the shorter one fills at "
            "most half, and lost the rest. A larger --max-length reads more."
        )
    texts = counted(cut, "text is", "texts are")
    return (
        f"{texts} longer than {classifier.max_length} tokens and lost the rest; --long windows "
        "reads all of a text."
    )


def require_text_count(known: Sequence[str], columns: Sequence[str], source: str) -> None:
    """Refuse a table with another number of texts a row than the model was trained on, if known."""
    if known and len(columns) != len(known):
        raise DataError(
            f"The model takes {len(known)} text{'s' * (len(known) > 1)} a row, {source} has "
            f"{len(columns)}: {', '.join(columns)}. Name the columns with --text-column."
        )
