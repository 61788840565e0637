"""What a query brings, and how it is told to programs and to people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from footwork.files.faults import counted
from footwork.files.paths import path_line, path_text
from search.paths import missing_files
from search.records import ImageRecord, best_labels, record_row

if TYPE_CHECKING:
    from pandas import DataFrame

Row = Mapping[str, Any]

_HEAD = "rank  relevance   score  path"
_THUMBNAIL = 320  # pixels
_NARROWEST_PATH = 20  # columns; a narrower terminal wraps it
_NOT_THERE = "  (not there)"
_SCORES = ("score", "relevance")
_SIZES = ("width", "height", "bytes")
COLUMNS = (
    *("path", *_SCORES, "format", *_SIZES),
    *("date", "date_from", "camera", "labels", "missing"),
)
"""Of `hit_row`."""


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """An image that was found.

    Args:
        record: What the index knows of its file: `path`, `format`, `width`, `height`, …
        score: Cosine with what is the query's own: see `search.query.relevance`.
        relevance: Estimated probability, 0 to 1, that the image shows what was asked for; results
            end at 0.5.
        missing: Why its file is not there, a clause; None if it is, or was not looked for.
    """

    record: ImageRecord
    score: float
    relevance: float
    missing: str | None = None

    @property
    def path(self) -> str:
        """Of its file, absolute."""
        return self.record.path

    def __repr__(self) -> str:
        away = f", missing={self.missing!r}" if self.missing else ""
        return f"Hit({self.path!r}, relevance={self.relevance:.2f}, score={self.score:.3f}{away})"

    def _repr_html_(self) -> str:
        return _html([("", "", [self])])


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A query and its images, the most relevant first: a sequence of them.

    In a notebook it shows their thumbnails.

        for hit in answer:
            print(hit.path, hit.relevance)
        answer.to_pandas().to_csv("dogs.csv")

    Args:
        query: As it reads: `a dog + at night - people`.
        hits: At most as many as were asked for.
        nothing_matches: Whether no image of the index is relevant. There may be hits all the same,
            if all were asked for.
        nearest: The best image, relevant or not; None where there is none at all.
        fault: Why it could not be asked, a clause; None if it was. Without hits it says nothing of
            what matches.
        notes: What to know of the query, a sentence each: words that are longer than the model
            reads, and, where no image is let through, what no image has of what was asked for.
    """

    query: str
    hits: tuple[Hit, ...]
    nothing_matches: bool
    nearest: Hit | None = None
    fault: str | None = None
    notes: tuple[str, ...] = ()

    def to_pandas(self) -> DataFrame:
        """A frame of a row each hit, in the columns of the command's CSV.

        They are path, score, relevance, format, width, height, bytes, date, date_from, camera,
        labels (the best first, with "; " between) and missing. Files are looked for.
        """
        return _frame(looked_for([self]), by_query=False)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> Answer: ...

    def __getitem__(self, place: int | slice) -> Hit | Answer:
        """A hit, or an answer of those of a slice."""
        if isinstance(place, slice):
            return replace(self, hits=self.hits[place])
        return self.hits[place]

    def __repr__(self) -> str:
        if self.fault is not None:
            return f"Answer({self.query!r}, fault={self.fault!r})"
        best = f", the best {self.hits[0]!r}" if self.hits else ""
        return f"Answer({self.query!r}, {counted(len(self), 'hit')}{best})"

    def _repr_html_(self) -> str:
        return Answers([self])._repr_html_()


class Answers(list[Answer]):
    """Answers to several queries, in their order: a list, which a notebook shows with thumbnails.

    `index.answer(["a dog", "a cat"]).to_pandas()` is a frame of all their hits.
    """

    def to_pandas(self) -> DataFrame:
        """A frame of a row each hit, as of `Answer.to_pandas`, led by the column query."""
        return _frame(looked_for(self), by_query=True)

    def _repr_html_(self) -> str:
        return _html((one.query, _said(one), one.hits) for one in looked_for(self))


def _said(answer: Answer) -> str:
    if answer.fault is not None:
        return f"was not asked: {answer.fault}"
    return "nothing matches" if answer.nothing_matches else counted(len(answer), "hit")


def _html(parts: Iterable[tuple[str, str, Sequence[Hit]]]) -> str:
    """Titles, what is said beside them, and hits with their thumbnails, as a part of a page."""
    from footwork.pages.templates import load_template
    from search.answers.page_images import page_images  # which no query in words needs

    def images(hits: Sequence[Hit]) -> Iterator[dict[str, Any]]:
        shown = page_images([(hit.record, hit.missing) for hit in hits], _THUMBNAIL)
        for hit, image in zip(hits, shown, strict=True):
            yield image | {"path": path_line(hit.path), "percent": f"{100 * hit.relevance:.0f}"}

    answers = [
        {"title": path_line(title), "said": path_line(said), "images": images(hits)}
        for title, said, hits in parts
    ]
    return load_template("search/answers/hits.html").render(answers=answers)


def looked_for(answers: Sequence[Answer], roots: Sequence[str] = ()) -> list[Answer]:
    """The same answers, which tell what of them is not there, below the indexed folders."""
    shown = [hit for answer in answers for hit in answer.hits or filter(None, [answer.nearest])]
    missing = missing_files((hit.record.path for hit in shown), roots)

    def told(hit: Hit) -> Hit:
        return replace(hit, missing=missing.get(hit.record.path))

    return [
        replace(
            answer,
            hits=tuple(map(told, answer.hits)),
            nearest=None if answer.nearest is None else told(answer.nearest),
        )
        for answer in answers
    ]


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
    Bytes of a path that are no UTF-8 stand as `\xNN`.
    """
    record = hit.record
    found = {"path": "", "score": float(hit.score), "relevance": float(hit.relevance)}
    return found | {
        **record_row(record),
        "date_from": record.date_from,
        "camera": record.camera,
        "labels": None if record.labels is None else dict(record.labels),
        "missing": hit.missing is not None,
    }


def hit_rows(answers: Sequence[Answer], *, by_query: bool) -> Iterator[dict[str, Any]]:
    """The hits of all answers, led by their `query` if need be."""
    for answer in answers:
        query = {"query": path_text(answer.query)} if by_query else {}
        yield from (query | hit_row(hit) for hit in answer.hits)


def flat_row(row: Row) -> Row:
    """One of these as cells: labels stand in one, the best first."""
    return {**row, "labels": "; ".join(best_labels(row["labels"]))}


def write_hits(answers: Sequence[Answer], path: Path, *, raw_cells: bool = False) -> None:
    """Write the hits of all answers to a file that is complete or absent.

    It ends in .csv, .tsv, .parquet, or in .jsonl, where labels keep their scores; of several
    answers rows are led by their `query`. `raw_cells` and errors are as of `write_rows`.
    """
    from footwork.tables.writer import write_rows

    rows: Iterable[Row] = hit_rows(answers, by_query=len(answers) > 1)
    if path.suffix.lower() != ".jsonl":
        rows = map(flat_row, rows)
    columns = COLUMNS if len(answers) == 1 else ("query", *COLUMNS)
    write_rows(rows, path, _schema, columns, raw_cells=raw_cells)


def _schema(names: Iterable[str]) -> Any:
    import pyarrow

    kinds = dict.fromkeys(_SCORES, pyarrow.float64()) | dict.fromkeys(_SIZES, pyarrow.int64())
    kinds["missing"] = pyarrow.bool_()
    return pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])


def _frame(answers: Sequence[Answer], *, by_query: bool) -> DataFrame:
    import pyarrow

    schema = _schema((*(["query"] if by_query else []), *COLUMNS))
    rows = [dict(flat_row(row)) for row in hit_rows(answers, by_query=by_query)]
    return pyarrow.Table.from_pylist(rows, schema=schema).to_pandas()


def answer_lines(answer: Answer, width: int | None = None) -> Iterator[str]:
    """A table for the eye; where nothing matches, a sentence that says so.

    A terminal of so many columns shortens a long path from its beginning; None keeps paths whole,
    to be copied or read by programs.
    """
    if answer.fault is not None:
        yield f"Not asked: {path_line(answer.fault)}."
    if answer.nothing_matches:
        told, best = f"Nothing here matches “{path_line(answer.query)}”", answer.nearest
        if best is None:
            yield f"{told}."
        else:
            mark = _NOT_THERE.lstrip() + ", " if best.missing else ""
            nearest = f"{path_line(best.record.path)}, {mark}with relevance {best.relevance:.2f}"
            yield f"{told}; the nearest is {nearest}."
    if not answer.hits:
        return
    yield _HEAD
    room = None if width is None else max(width - _HEAD.index("path"), _NARROWEST_PATH)
    for rank, hit in enumerate(answer.hits, start=1):
        path, mark = path_line(hit.record.path), _NOT_THERE if hit.missing else ""
        if room is not None:
            from footwork.evaluation.text import tail  # a terminal alone needs it

            path = tail(path, max(room - len(mark), _NARROWEST_PATH))
        yield f"{rank:4}  {hit.relevance:9.2f}  {hit.score:6.3f}  {path}{mark}"
