"""The commands of image search."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from footwork import console
from footwork.cli import Literal, main
from footwork.console import DONE, SKIPPED, Progress, exit_code, note, note_all
from footwork.errors import ConfigError, ImageError, StoreError
from footwork.files.faults import Fault, counted, fault_lines
from footwork.files.outputs import require_makeable, require_page
from footwork.files.paths import path_line, path_text, shell_word
from footwork.help_page import IMAGES, INDEX, METHOD, RUN
from footwork.options import ConfigFile, Flag, Flat
from footwork.processes import ALONE, launched_processes
from search.options import (
    FilterOptions,
    ModelOptions,
    NewStoreOptions,
    OutputOptions,
    QueryOptions,
    StoreOptions,
    WriteOptions,
)

if TYPE_CHECKING:
    from cyclopts import Token

    from search.answers.answer import Answer
    from search.place import Place

app = App(
    name="search",
    help_format="plaintext",
    group_parameters=RUN,
)

ASKED = Parameter(group=Group("What is asked for", sort_key=0))
AS_ELSEWHERE = Parameter(name="*", show=False)
"""Options that the help pages of `query` and `index` tell of."""
NOTHING = 4
"""Exit code where nothing matches, if it is asked for; 1 is that of a failure."""
_NULL = "-0"
_MISTAKEN = 0.75
"""How like a command a first word is that is taken for one, misspelt."""


def _word(_kind: type[str], tokens: Sequence[Token]) -> str:
    r"""A word; one after `--` that begins with a dash has a \ before it, as in a query."""
    value = tokens[0].value
    dashed = isinstance(value, Literal) and value.startswith("-") and value != "-"
    return f"\\{value}" if dashed else value


Words = Annotated[str, Parameter(allow_leading_hyphen=True, converter=_word)]


@app.default
def ask(
    *words: Words,
    like: Annotated[tuple[str, ...], Parameter(negative=""), ASKED] = (),
    indexing: Annotated[bool, INDEX] = True,
    store_options: Annotated[StoreOptions, AS_ELSEWHERE] = StoreOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, AS_ELSEWHERE] = ModelOptions(),  # noqa: B008 - frozen
    options: Annotated[QueryOptions, AS_ELSEWHERE] = QueryOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, AS_ELSEWHERE] = FilterOptions(),  # noqa: B008 - frozen
    output: Annotated[OutputOptions, AS_ELSEWHERE] = OutputOptions(),  # noqa: B008 - frozen
    _config: Annotated[Path | None, Parameter(name="--config", show=False)] = None,
) -> int:
    """Find images in the folder where you are and below; what is new there is indexed first.

    Args:
        words: In place of a command: what images in the folder where you are show, as of `query`:
            footwork search "a red bicycle". What is new there is indexed first. Options are those
            of `query` but --queries, and those on the model of `index`; an --index of other folders
            is only asked.
        like: An image that they are like.
        indexing: Look for new and changed images first; --no-indexing asks the index as it is.
        store_options: As of `query`.
        model: As of `index`.
        options: As of `query`.
        filters: As of `query`.
        output: As of `query`.
        config: As of `query`.
    """
    if not words and not like:
        return main(["search", "--help"])
    _require_no_command(words)
    from search.paths import absolute_path
    from search.place import find_place, index_around, may_index

    here = absolute_path(".")
    is_named = store_options.index is not None or store_options.store is not None
    place = find_place(store_options) if is_named else index_around(here)
    is_of_here = may_index(place, here)  # else one is named that is of other folders: it is asked
    if indexing and is_of_here:
        _take_in(here, place, model)
    if store_options.store is None:
        store_options = replace(store_options, index=Path(str(place)))
    if is_of_here and not filters.in_:
        filters = replace(filters, in_=(Path(here),))
    return query(
        *words,
        like=like,
        store_options=store_options,
        options=options,
        filters=filters,
        output=output,
    )


def _require_no_command(words: Sequence[str]) -> None:
    """Refuse a query that rather is a command, misspelt; what is meant so stands after `--`."""
    from difflib import get_close_matches

    first = words[0] if words else ""
    commands = [name for name in app if not name.startswith("-")]
    near = get_close_matches(first, commands, n=1, cutoff=_MISTAKEN)
    near += ["index --from"] if first == "import" else []
    if near and not isinstance(first, Literal):
        raise ConfigError(
            f'Unknown command "{first}". Did you mean "{near[0]}"? To find what shows it, put it '
            f"after two dashes: footwork search -- {' '.join(words)}"
        )


def _take_in(folder: str, place: Place, model: ModelOptions) -> None:
    """Bring the index up to date with a folder, and tell what is new."""
    from search.update.indexing import Indexer

    if not place.exists:
        from footwork.images.finding import find_images

        count = counted(len(find_images([folder]).paths), "image")  # before a model is fetched
        note(f"{path_line(folder)} has no index yet: {count} to be embedded, once.")
    else:
        with closing(place.open()) as store:
            is_removed = folder in store.exclusions().removed
        if is_removed:  # an update that names it would take it back
            raise ConfigError(
                f"{path_line(folder)} was removed from the index. To take it back: footwork search "
                f"index {shell_word(folder)} {place.option}"
            )
    try:
        with Progress("reading", "images") as progress:
            summary = Indexer(place, model, on_progress=progress.show).index([folder])
    except StoreError as error:  # another process may be writing it
        if not place.exists:
            raise
        note(f"{error} Asked as it is.")
        return
    if summary.has_changes:
        note_all((*summary.to_notes(), summary.to_text(str(place))))


@app.command
def index(
    *roots: Path,
    store_options: Annotated[NewStoreOptions, Flat] = NewStoreOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    exclude: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = (),
    include: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = (),
    watch: Flag = False,
    recheck: Flag = False,
    from_: Annotated[str | None, Parameter(name="--from"), INDEX] = None,
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Make an index of every image below some folders, or bring it up to date.

    Only new and changed files are decoded: files are compared by size, by time and by change time,
    and where one differs by content. What is moved, renamed, touched or gone for a while keeps its
    embedding. It may be stopped at any moment; the next run goes on. A folder that is missing or
    cannot be read keeps its images as they are, and the exit code is 3.

    Args:
        roots: Folders; none takes all that were indexed before. What `remove` was told stays away
            until it is named here itself.
        exclude: Leave out a name anywhere below the folders, such as '*.tif' or 'private/', or a
            path below one of them, such as '2019/**/raw'; what it covers leaves the index. It is
            kept for later runs; `status` lists it.
        include: Take back such a pattern, or the path of what was removed.
        store_options: The index.
        model: The model, and how it is run.
        watch: Go on watching the folders, and keep the index up to date, until Ctrl-C; SIGTERM ends
            it, too, with exit code 0.
        recheck: Read every known file, and compare its content: an edit that keeps size and time is
            not seen where the file system has no change time (FAT, many cloud and FUSE drives).
            Files that could not be read are tried again.
        from_: Copy another index without embedding anything: its folder, http://HOST:19530, or a
            .parquet or .npy file that `export` wrote; with --model also a folder of
            clip-retrieval's, or embeddings that others saved so.
        json: Print one JSON document.
    """
    launched = "RANK" in os.environ
    if launched and (watch or from_ is not None):
        raise ConfigError("--watch and --from are for one process: leave the launcher out.")
    if from_ is not None:
        if roots or watch or recheck or exclude or include:
            raise ConfigError("--from copies an index as it is; index folders with a second run.")
        return _copy_from(from_, store_options, model, json)
    from search.update.differences import absolute_roots
    from search.update.indexing import Indexer
    from search.update.watching import stopped_by_sigterm, watched_updates

    processes = launched_processes() if launched else ALONE
    place = _to_write(store_options, absolute_roots(roots))
    progress = Progress("reading", "images")
    indexer = Indexer(place, model, processes, progress.show)
    with stopped_by_sigterm() if watch else nullcontext():
        with progress:
            summary = indexer.index(roots, exclude, include, recheck=recheck)
        note_all(summary.to_notes())
        _tell(json, summary.to_dict(str(place)), summary.to_text(str(place)))
        if not watch:
            return exit_code(all_done=summary.is_whole)
        with closing(place.open()) as store:
            watched = store.roots()
        for changed in watched_updates(indexer, watched):
            progress.end()
            note_all((*changed.to_notes(), changed.to_text(str(place))))
    return DONE


def _to_write(store_options: WriteOptions, roots: Sequence[str] = ()) -> Place:
    """The index that is to be written, as of `find_place`; with --wait when nobody else does."""
    from search.place import IndexFolder, find_place

    place = find_place(store_options, tuple(roots))
    if store_options.wait and isinstance(place, IndexFolder):
        place.on_wait = lambda writer: note(f"Waiting for {writer}, which writes {place} …")
    return place


def _tell(json: bool, document: Mapping[str, Any], text: str) -> None:
    """A result, for programs or for people."""
    console.print_document(document) if json else console.print_text(text)


def _copy_from(named: str, store_options: WriteOptions, model: ModelOptions, json: bool) -> int:
    from search.transfer.transfer import copy_index, find_source

    source = find_source(named, store_options)
    place = _to_write(store_options, source.roots)
    with Progress("copying", "files") as progress:
        done = copy_index(source, place, model, lambda count: progress.show(count, None))
    note_all(done.notes)
    _tell(json, done.to_dict(str(place)), done.to_text(str(place)))
    note_all(fault_lines(done.skipped, "Skipped, as they are no images"))
    return exit_code(all_done=not done.skipped)


@app.command
def query(
    *words: Words,
    like: Annotated[tuple[str, ...], Parameter(negative=""), ASKED] = (),
    queries: Annotated[Path | None, Parameter(allow_leading_hyphen=True), ASKED] = None,
    store_options: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    options: Annotated[QueryOptions, Flat] = QueryOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, Flat] = FilterOptions(),  # noqa: B008 - frozen
    output: Annotated[OutputOptions, Flat] = OutputOptions(),  # noqa: B008 - frozen
    _config: ConfigFile = None,
) -> int:
    r"""Find the images that show something; results end where relevance does.

    Args:
        words: What they show: a dog + "at night" - people. `+` adds a term, `-` leaves out what
            shows it, 0.5: before a term is its weight, unless a digit follows as in 16:9, and
            ./photo.jpg is an image. A word that begins with a dash of its own stands after --.
        like: An image that they are like; any file of this machine.
        queries: A file of queries, one a line, or `-` for standard input; a line that begins with
            # is a comment, one with \# a query that does.
        store_options: The index.
        options: How many images, and which.
        filters: Which images are asked for.
        output: What is done with the answer.
    """
    from search.answers.answer import looked_for
    from search.index import ImageIndex
    from search.query.terms import parse_query, read_queries

    # As a short option it would take -0.5:dog to pieces, of which -o is one, too.
    typed = [word for word in words if word != _NULL]
    if len(typed) < len(words):
        output = replace(output, null=True)
    if queries is None:
        asked = [parse_query(typed, like)]
    elif typed or like:
        raise ConfigError("--queries brings its own queries; leave out words and --like.")
    else:
        asked = read_queries(queries, sys.stdin.buffer)
    _check_outputs(output, (*like, queries))
    with ImageIndex.connect(store_options) as found:
        answers = looked_for(found.answer(asked, options, filters.filter()), found.store.roots())
    note_all(dict.fromkeys(said for answer in answers for said in answer.notes))
    _print_answers(answers, output)
    code = _keep_answers(answers, output)
    is_bare = output.exit_status and all(answer.nothing_matches for answer in answers)
    return NOTHING if code == DONE and is_bare else code


def _check_outputs(output: OutputOptions, inputs: Iterable[str | Path | None]) -> None:
    """See that files can be written, before anything is asked."""
    if output.out is not None:
        from footwork.tables.writer import require_table  # which few queries need
        from search.answers.answer import COLUMNS

        require_table(output.out, COLUMNS, inputs, ("query",))
    require_page(output.html)
    require_makeable(output.copy_to)


def _print_answers(answers: Sequence[Answer], output: OutputOptions) -> None:
    from search.answers.answer import answer_document, answer_lines, flat_row, hit_rows

    if output.json and len(answers) == 1:
        console.print_document(answer_document(answers[0]))
    elif output.json:
        console.print_json_lines(map(answer_document, answers))
    elif output.csv:
        rows = hit_rows(answers, by_query=len(answers) > 1)
        console.print_csv(rows, flat_row, raw_cells=output.raw_cells)
    elif output.paths or output.null:
        paths = (hit.record.path for answer in answers for hit in answer.hits)
        _print_paths(paths, output.null)
    else:
        # A terminal that says it has no width leaves paths whole.
        width = (os.get_terminal_size().columns or None) if sys.stdout.isatty() else None
        for answer in answers:
            heads = [path_line(answer.query)] if len(answers) > 1 else []
            for line in (*heads, *answer_lines(answer, width)):
                console.print_text(line)
            if output.preview:
                _preview(answer)


def _print_paths(paths: Iterable[str], null: bool) -> None:
    """Byte for byte as the file system has them."""
    end = b"\0" if null else b"\n"
    sys.stdout.buffer.writelines(os.fsencode(path) + end for path in paths)


def _preview(answer: Answer) -> None:
    from search.answers.page_images import thumbnails_of
    from search.answers.terminal_pictures import picture_protocol, picture_sequence

    protocol = picture_protocol(os.environ, sys.stdout.isatty())
    if protocol is None:
        note("This terminal shows no images. --html FILE makes a page of them.")
        return
    for (record, _), picture in thumbnails_of((hit.record, hit.missing) for hit in answer.hits):
        if isinstance(picture, ImageError):
            note(str(picture))
            continue
        console.print_picture(picture_sequence(picture, protocol))
        console.print_text(path_line(record.path))


def _keep_answers(answers: Sequence[Answer], output: OutputOptions) -> int:
    """Write files, and tell what is not there; returns the exit code."""
    hits = [hit for answer in answers for hit in answer.hits]
    faults = {one.query: one.fault for one in answers if one.fault is not None}
    note_all(f"skipped {path_line(query)}: {path_line(fault)}." for query, fault in faults.items())
    missing = {hit.record.path: hit.missing for hit in hits if hit.missing}
    gone = [Fault(Path(path), reason) for path, reason in missing.items()]
    note_all(fault_lines(gone, "Found, but not there"))
    if output.out is not None:
        from search.answers.answer import write_hits

        write_hits(answers, output.out, raw_cells=output.raw_cells)
    if output.html is not None:
        from search.answers.contact_sheet import write_contact_sheet

        write_contact_sheet(answers, output.html)
        note(f"The images are on {path_line(output.html)}")
    if output.copy_to is None:
        return exit_code(all_done=not faults)
    from search.answers.copies import copy_hits

    outcome = copy_hits(hits, output.copy_to)
    note(outcome.to_text())
    return exit_code(all_done=not (faults or outcome.failed))


@app.command
def status(
    *,
    store_options: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Tell what an index holds.

    Args:
        store_options: The index.
        json: Print one JSON document.
    """
    from search.place import find_place
    from search.status import read_status

    found = read_status(find_place(store_options))
    _tell(json, found.to_dict(), found.to_text())
    return DONE


@app.command
def remove(
    *paths: Path,
    gone: Flag = False,
    store_options: Annotated[WriteOptions, Flat] = WriteOptions(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Forget images, with their embeddings; the files themselves are never touched.

    What is named stays away from later runs of `index`, until it is named there itself.

    Args:
        paths: Files, or folders with all below them.
        gone: Forget every image that was not there when its folder was last looked at.
        store_options: The index.
        json: Print one JSON document.
    """
    from search.update.indexing import remove_images

    removed = remove_images(place := _to_write(store_options), paths, gone=gone)
    named = f"They stay away until they are named: footwork search index PATH {place.option}"
    _tell(json, {"removed": removed}, f"{removed:,} forgotten. {named if paths else ''}".rstrip())
    return DONE


@app.command
def duplicates(
    *,
    near: Annotated[float | None, METHOD] = None,
    look: Annotated[bool, METHOD] = True,
    store_options: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, Flat] = FilterOptions(),  # noqa: B008 - frozen
    paths: Flag = False,
    null: Annotated[bool, Parameter(name=["--null", "-0"], negative="")] = False,
    csv: Flag = False,
    raw_cells: Flag = False,
    json: Flag = False,
    html: Path | None = None,
    _config: ConfigFile = None,
) -> int:
    """Find images that are there more than once, and say which to keep; nothing is deleted.

    Copies and versions that can be made of the one that is kept (rotated, mirrored, cropped,
    bordered, grey, re-encoded, smaller) are duplicates; what is only similar is told as such.

    Args:
        near: Least cosine of images that are compared; 1 takes only those of the same bytes. If
            not given, 0.9, or 0.985 with --no-look.
        look: Open images that are alike by their embeddings, and compare them; --no-look is for
            images that are not on this machine, of which nothing can be verified.
        store_options: The index.
        filters: Which images are compared.
        paths: Print the paths alone of those that need not be kept, one a line: exact copies and
            versions that were verified just now, file by file; never what is only similar.
        null: The same, each ended by NUL in place of a line end: for xargs -0.
        csv: Print CSV.
        raw_cells: In CSV, leave alone what begins like a formula (=, +, -, @): otherwise a ' is
            put before it, so that no spreadsheet runs the name of a file.
        json: Print one JSON document.
        html: File for one page that shows all groups.
    """
    from search.duplicates import rows
    from search.duplicates.duplicates import find_duplicates
    from search.place import find_place
    from search.query.asking import unknown_values

    if sum((csv, json, paths or null)) > 1:
        raise ConfigError("--paths, --csv and --json exclude each other. Take one.")
    require_page(html)
    chosen = filters.filter()
    with closing(find_place(store_options).open()) as store:
        with Progress("comparing", "images") as progress:
            show = progress.show
            found = find_duplicates(store, near, chosen, look=look, on_progress=show)
        if not found.images:
            note_all(unknown_values(store, chosen))
    if json:
        console.print_document(rows.duplicates_document(found))
    elif csv:
        console.print_csv(rows.duplicate_cells(found), dict, raw_cells=raw_cells)
    elif paths or null:
        spare = (one for group in found.groups for one in group.spare)
        _print_paths((one.record.path for one in spare), null)
    else:
        for text in rows.duplicates_lines(found):
            console.print_text(text)
    note_all(rows.duplicates_notes(found))
    if html is not None:
        rows.write_duplicates_page(found, html)
        note(f"The images are on {path_line(html)}")
    return exit_code(all_done=not (found.unseen or found.changed))


@app.command
def doctor(
    *,
    store_options: Annotated[WriteOptions, Flat] = WriteOptions(),  # noqa: B008 - frozen
    repair: Flag = False,
    model: bool = True,
    json: Flag = False,
) -> int:
    """Examine an index; tell what is wrong with it, and what to do.

    The exit code is 0 where all is well, 3 where something is to be mended, or was, and 1 where
    the index cannot be read at all.

    Args:
        store_options: The index.
        repair: Mend what can be mended; no image file is touched, and no embedding is lost that
            could be kept. A damaged catalog is set aside: the copy of it that `index` last made
            takes its place, or an empty one where that is damaged, too.
        model: Load the model and see whether it is still the one that the index was made with;
            only if it is on this machine.
        json: Print one JSON document.
    """
    from search import doctor

    work = doctor.repair if repair else doctor.examine
    report = work(_to_write(store_options), with_model=model)
    _tell(json, report.to_dict(), report.to_text())
    return DONE if report.is_well else SKIPPED


@app.command
def export(
    out: Path,
    /,
    *,
    store_options: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, Flat] = FilterOptions(),  # noqa: B008 - frozen
    json: Flag = False,
    _config: ConfigFile = None,
) -> int:
    """Write all images with their embeddings to a file that other programs read.

    Args:
        out: A .parquet file; or a .npy file of embeddings alone, beside which the images stand in
            a .jsonl file of the same name, row by row, and the model in a .json file. Files of
            these names are replaced only if an export wrote them.
        store_options: The index.
        filters: Which images are written.
        json: Print one JSON document.
    """
    from search.place import find_place
    from search.query.asking import unknown_values
    from search.transfer.export import export_images, require_exportable

    require_exportable(out)
    chosen = filters.filter()
    with closing(find_place(store_options).open()) as store:
        count = export_images(store, out, chosen)
        if not count:
            note_all(unknown_values(store, chosen))
    held = counted(count, "image with its embedding", "images with their embeddings")
    _tell(json, {"images": count, "out": path_text(out)}, f"{held} in {path_line(out)}")
    return DONE
