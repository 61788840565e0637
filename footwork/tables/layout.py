"""How the lines of a text file hold a table: as the user states it, else as it is found out."""

from __future__ import annotations

import codecs
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from footwork.errors import ConfigError
from footwork.settings import Settings
from footwork.tables.columns import (
    KNOWN_COLUMN_NAMES,
    holds_names,
    normalise_name,
    repeated_names,
    stands_out,
    unique_names,
)
from footwork.tables.delimited import Dialect, Record, check_dialect, choose_dialect, read_records
from footwork.tables.source import TextSource

FIRST_SPACE = "first-space"
"""Delimiter of `label text` lines: the first space of a line, and no other."""

_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, kw_only=True)
class TableFormat(Settings):
    """What the user states of a table; what is None is detected, as are options not given."""

    delimiter: str | None = None
    """One character, `tab`, or `first-space` for lines of `label text`; if not given, it is found
    out."""
    header: bool | None = None
    """Whether the first row names the columns; if not given, it is found out."""
    encoding: str | None = None
    """A codec of Python, such as utf-8, latin-1 or utf-16; if not given, it is found out."""
    skip_bad_rows: bool = False
    """List unreadable rows instead of stopping at the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delimiter is not None:
            resolved = _DELIMITER_NAMES.get(self.delimiter.lower(), self.delimiter)
            if resolved != FIRST_SPACE and (len(resolved) != 1 or resolved in '\r\n"'):
                raise ConfigError(
                    f"`delimiter` must be one character, `tab` or `{FIRST_SPACE}`, "
                    f"got {resolved!r}."
                )
            object.__setattr__(self, "delimiter", resolved)
        if self.encoding is not None:
            try:
                text_codec = codecs.lookup(self.encoding)._is_text_encoding
            except (LookupError, ValueError):  # the latter of a NUL
                text_codec = False
            if not text_codec:
                raise ConfigError(
                    "`encoding` must be a codec of Python such as utf-8, latin-1 or utf-16, "
                    f"got {self.encoding!r}."
                )


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a text file are read."""

    kind: str
    """`delimited`, `first-space`, `fasttext` or `lines` (one text a line)."""
    columns: tuple[str, ...]
    header_rows: int = 0
    """Rows up to the one that names the columns; 0 where none does."""
    dialect: Dialect | None = None
    """Only for `delimited`."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is known of a table before it is looked at."""

    names: tuple[str, ...] = ()
    """Of columns, stated or trained on; a row that holds one is the header."""
    beside: Layout | None = None
    """Of a table without a header that this one belongs to; of as many columns, it has none."""
    labelled: bool = False
    """Each line holds a label, so that `label text` with nothing but a space between may be
    looked for; otherwise such a line is one text."""


ANYTHING = Expected()
DETECT = TableFormat()
"""Everything is detected, and the first bad row stops the reading."""


Notes = tuple[str, ...]

FASTTEXT_MARK = "__label__"
DELIMITER_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "pipes", " ": "spaces"}
_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_SAMPLE_LINES = 1000
_SAMPLE_CHARACTERS = 1 << 22


def detect_layout(source: TextSource, table_format: TableFormat, expected: Expected) -> Layout:
    """Choose delimiter, quoting and header of a text that is not blank, and name its columns."""
    sample = _sample(source)
    if beside := expected.beside:
        divides = beside.dialect and beside.dialect.delimiter
        if divides and _fit(sample, divides).width != len(beside.columns):
            divides = None
        if divides := FIRST_SPACE if beside.kind == FIRST_SPACE else divides:
            table_format = replace(table_format, delimiter=divides, header=False)
    stated = table_format.delimiter
    if stated == FIRST_SPACE:
        return Layout("first-space", ("label", "text"))
    if stated is None and _share(line.startswith(FASTTEXT_MARK) for line in sample) > 0.9:
        note = f"Lines of fastText: labels are marked with {FASTTEXT_MARK}."
        return Layout("fasttext", ("label", "text"), notes=(note,))
    known = KNOWN_COLUMN_NAMES.union(map(normalise_name, expected.names))
    named = table_format.header or normalise_name(sample[0]) in known
    begin_with_labels = expected.labelled and not named and _begin_with_labels(sample)
    delimiter = stated or _choose_delimiter(
        [_fit(sample, one, known, _USUAL.get(source.ending)) for one in "\t,;|"],
        unnamed=expected.labelled and not begin_with_labels,
    )
    if delimiter is not None:
        return _delimited(source, sample, delimiter, table_format.header, expected.names)
    if begin_with_labels:
        note = (
            "Lines of `label text`: the label is what stands before the first space "
            f"(--delimiter {FIRST_SPACE})."
        )
        return Layout("first-space", ("label", "text"), notes=(note,))
    return _one_column(source, sample, table_format.header, expected.names)


def _sample(source: TextSource) -> list[str]:
    lines, characters = [], 0
    for line in source.preview():
        if line.strip():
            lines.append(line)
        characters += len(line)
        if len(lines) >= _SAMPLE_LINES or characters > _SAMPLE_CHARACTERS:
            break
    return lines


@dataclass(frozen=True, slots=True)
class _Fit:
    """How a delimiter fits the sample."""

    delimiter: str
    known_names: int
    first: bool
    """The first record is as wide as most."""
    usual: bool
    width: int
    share: float
    rows: int


def _choose_delimiter(fits: Sequence[_Fit], unnamed: bool) -> str | None:
    usual = any(fit.usual for fit in fits)
    least_share = 0.9 if usual else 1.0 if unnamed else math.inf
    trusted = [fit for fit in fits if _is_trusted(fit, least_share)]
    rank = attrgetter("known_names", "first", "usual", "share")
    return max(trusted, key=rank).delimiter if trusted else None


def _fit(
    sample: list[str],
    delimiter: str,
    known: frozenset[str] = frozenset(),
    usual: str | None = None,
) -> _Fit:
    # The end of the sample may stand within a quote.
    records = [record for record in read_records(sample, Dialect(delimiter)) if record.cells]
    records = records or [Record(1, [sample[0].strip()])]
    widths = Counter(len(record.cells) for record in records)
    width, _ = widths.most_common(1)[0]
    plain = _share(line.count(delimiter) == width - 1 for line in sample)
    share = max(plain, _share(len(record.cells) == width for record in records))
    names = {normalise_name(cell) for cell in records[0].cells} & known
    first = len(records[0].cells) == width
    return _Fit(delimiter, len(names), first, delimiter == usual, width, share, len(records))


def _is_trusted(fit: _Fit, least_share: float) -> bool:
    """Whether a delimiter divides cells, rather than standing in texts by chance."""
    if fit.width < 2:
        return False
    if fit.known_names or (fit.usual and fit.share >= 0.5):
        return True
    if fit.delimiter == "\t":
        return fit.share >= 0.9
    # Two sentences with one comma each do not make a table.
    return fit.share >= least_share and (least_share < 1.0 or fit.rows >= 3)


def _delimited(
    source: TextSource,
    sample: list[str],
    delimiter: str,
    header: bool | None,
    stated: Sequence[str],
) -> Layout:
    quoted, plain = Dialect(delimiter), Dialect(delimiter, quoted=False)
    tried = (quoted, plain, Dialect(delimiter, escaped=True))
    checks = (check_dialect(source.preview(), dialect) for dialect in tried)
    first = next(checks)
    best = choose_dialect(itertools.chain([first], checks))
    notes = [f"Columns are divided by {DELIMITER_NAMES.get(delimiter, repr(delimiter))}."]
    if best.dialect == plain:
        notes.append(
            "Quote characters are kept as text: as quotes around cells they would spoil rows "
            f"({first.faults}, the first is row {first.first_fault})."
        )
    rows = [record.cells for record in read_records(sample, best.dialect)]
    names, header_rows, note = _name_columns(rows, header, stated)
    return Layout("delimited", names, header_rows, best.dialect, (*notes, *note))


def _name_columns(
    rows: Sequence[list[str]], header: bool | None, stated: Sequence[str]
) -> tuple[tuple[str, ...], int, Notes]:
    """Names, the number of rows down to those that are in the file, and what is to be noted."""
    width, _ = Counter(map(len, filter(None, rows))).most_common(1)[0]
    above = list(itertools.takewhile(lambda row: sum(map(bool, row)) < min(2, width), rows))
    depth = len(above)
    rows = list(rows)
    for place in range(min(depth + 1, len(rows))):
        rows[place] = _widened(rows[place], rows[place + 1 :], width)
    if header or (header is None and holds_names(rows[0], rows[1:], stated)):
        return unique_names(rows[0]), 1, repeated_names(rows[0])
    if header is None and 0 < depth < len(rows):
        if holds_names(rows[depth], rows[depth + 1 :], stated):
            shown = "; ".join(repr(" ".join(row).strip()) for row in above if any(row))
            note = f"Warning: what stands above the header is left out: {shown}."
            notes = (note,) if shown else ()
            return unique_names(rows[depth]), depth + 1, (*notes, *repeated_names(rows[depth]))
    elif header is None and stands_out(rows[0], rows[1:]):
        names = unique_names(rows[0])
        note = (
            f"The first row is unlike those below, so it is read as the header: "
            f"{', '.join(map(repr, names))} (--no-header if it is data)."
        )
        return names, 1, (note, *repeated_names(rows[0]))
    names = tuple(f"column_{i}" for i in range(1, width + 1))
    note = f"No header: the columns are called {', '.join(names)} (--header if they have names)."
    return names, 0, (note,)


def _widened(header: list[str], below: Sequence[list[str]], width: int) -> list[str]:
    """A row with empty names of columns beyond it, where nothing stands in them."""
    beyond = (any(row[len(header) :]) for row in below if len(row) == width)
    return header if any(beyond) else [*header, *[""] * (width - len(header))]


def _one_column(
    source: TextSource, sample: list[str], header: bool | None, stated: Sequence[str]
) -> Layout:
    rows = [record.cells for record in read_records(sample, Dialect(","))]
    quoted = any('"' in line for line in sample) and all(len(row) == 1 for row in rows)
    if source.ending in _USUAL or (quoted and holds_names(rows[0], rows[1:], stated)):
        return _delimited(source, sample, _USUAL.get(source.ending, ","), header, stated)
    first, rest = sample[0].strip(), [[line.strip()] for line in sample[1:]]
    if header is None:
        header = holds_names([first], rest, stated)
    columns = (first if header else "text",)
    return Layout("lines", columns, int(header), notes=("One text a line.",))


def _begin_with_labels(sample: Sequence[str]) -> bool:
    """Whether lines begin with few words that recur, as first words of sentences do not."""
    # A text may be empty.
    if _share(" " in line.strip() for line in sample) < 0.5:
        return False
    counts = Counter(line.split(maxsplit=1)[0] for line in sample)
    alone = sum(count == 1 for count in counts.values())
    return len(counts) * 2 <= len(sample) and alone <= max(1, len(counts) // 10)


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return sum(counted) / len(counted) if counted else 0.0
