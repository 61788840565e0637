"""Find out how the lines of a text file hold a table."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime.tables.delimited import Record, check_dialect, choose_dialect, read_records
from runtime.tables.format import FIRST_SPACE, Dialect, Layout, TableFormat
from runtime.tables.header import KNOWN_COLUMN_NAMES, is_header, normalise_name
from runtime.tables.text_lines import TextSource

FASTTEXT_MARK = "__label__"
DELIMITER_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "pipes", " ": "spaces"}
_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_SAMPLE_LINES = 1000
_SAMPLE_CHARACTERS = 1 << 22


def detect_layout(source: TextSource, table_format: TableFormat, labelled: bool) -> Layout:
    """Choose delimiter, quoting and header of a text file, and name its columns.

    Args:
        source: Has at least one line that is not blank.
        table_format: What the user states goes before what is detected.
        labelled: Each line is known to hold a label, so that `label text` with nothing but a
            space between may be looked for. Otherwise such a line is one text.
    """
    sample = _sample(source)
    stated = table_format.delimiter
    if stated == FIRST_SPACE:
        return Layout("first-space", ("label", "text"))
    if stated is None and _share(line.startswith(FASTTEXT_MARK) for line in sample) > 0.9:
        note = f"Lines of fastText: labels are marked with {FASTTEXT_MARK}."
        return Layout("fasttext", ("label", "text"), notes=(note,))
    begin_with_labels = labelled and not table_format.header and _begin_with_labels(sample)
    delimiter = stated or _choose_delimiter(
        sample, source.ending, unnamed=labelled and not begin_with_labels
    )
    if delimiter is not None:
        return _delimited(source, sample, delimiter, table_format)
    if begin_with_labels:
        note = (
            "Lines of `label text`: the label is what stands before the first space "
            f"(--delimiter {FIRST_SPACE})."
        )
        return Layout("first-space", ("label", "text"), notes=(note,))
    return _one_column(source, sample, table_format)


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
    usual: bool
    width: int
    share: float
    rows: int

    @property
    def rank(self) -> tuple[int, bool, float]:
        return self.known_names, self.usual, self.share


def _choose_delimiter(sample: list[str], ending: str, unnamed: bool) -> str | None:
    usual = _USUAL.get(ending)
    fits = [_fit(sample, delimiter, delimiter == usual) for delimiter in "\t,;|"]
    least_share = 0.9 if usual else 1.0 if unnamed else math.inf
    trusted = [fit for fit in fits if _is_trusted(fit, least_share)]
    return max(trusted, key=lambda fit: fit.rank).delimiter if trusted else None


def _fit(sample: list[str], delimiter: str, usual: bool) -> _Fit:
    records = _records(sample, Dialect(delimiter))
    widths = Counter(len(record.cells) for record in records)
    width, _ = widths.most_common(1)[0] if widths else (0, 0)
    plain = _share(line.count(delimiter) == width - 1 for line in sample)
    share = max(plain, _share(len(record.cells) == width for record in records))
    names = {normalise_name(cell) for cell in records[0].cells} if records else set()
    return _Fit(delimiter, len(names & KNOWN_COLUMN_NAMES), usual, width, share, len(records))


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
    source: TextSource, sample: list[str], delimiter: str, table_format: TableFormat
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
    records = _records(sample, best.dialect)
    names, header, note = _name_columns(records, table_format.header)
    return Layout("delimited", names, header, best.dialect, (*notes, *note))


def _name_columns(
    records: Sequence[Record], stated: bool | None
) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    first, rest = records[0], [record.cells for record in records[1:]]
    header = stated if stated is not None else is_header(first.cells, rest)
    if header:
        return _unique_names(first.cells), header, ()
    width, _ = Counter(len(record.cells) for record in records).most_common(1)[0]
    names = tuple(f"column_{i}" for i in range(1, width + 1))
    note = f"No header: the columns are called {', '.join(names)} (--header if they have names)."
    return names, header, (note,)


def _unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        name = cell.strip() or f"column_{number}"
        names.append(f"{name}_{number}" if name in names else name)
    return tuple(names)


def _one_column(source: TextSource, sample: list[str], table_format: TableFormat) -> Layout:
    if source.ending in _USUAL:
        return _delimited(source, sample, _USUAL[source.ending], table_format)
    first, rest = sample[0].strip(), [[line.strip()] for line in sample[1:]]
    header = table_format.header
    if header is None:
        header = is_header([first], rest)
    return Layout("lines", (first if header else "text",), header, notes=("One text a line.",))


def _begin_with_labels(sample: Sequence[str]) -> bool:
    """Whether lines begin with few words that recur, as first words of sentences do not."""
    # A text may be empty.
    if _share(" " in line.strip() for line in sample) < 0.5:
        return False
    counts = Counter(line.split(maxsplit=1)[0] for line in sample)
    alone = sum(count == 1 for count in counts.values())
    return len(counts) * 2 <= len(sample) and alone <= max(1, len(counts) // 10)


def _records(sample: list[str], dialect: Dialect) -> list[Record]:
    records = list(read_records(sample, dialect))
    # The end of the sample may stand within a quote.
    return [record for record in records if record.cells] or [Record(1, [sample[0].strip()])]


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return sum(counted) / len(counted) if counted else 0.0
