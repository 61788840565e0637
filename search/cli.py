"""The commands of image search."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from footwork.cli import Literal
from footwork.console import DONE, Progress, exit_code, note_all, print_document, print_text
from footwork.errors import ConfigError
from footwork.help_page import IMAGES, INDEX, RUN
from footwork.options import Flag, Flat
from search.options import (
    FilterOptions,
    ModelOptions,
    NewStoreOptions,
    OutputOptions,
    QueryOptions,
    StoreOptions,
)
from search.update.crew import ALONE, launched_crew

if TYPE_CHECKING:
    from cyclopts import Token

    from search.query.terms import Query

app = App(
    name="search",
    help="Find pictures by what they show: embed once, query by words, by picture, by both.",
    help_format="plaintext",
    group_parameters=RUN,
)

ASKED = Parameter(group=Group("What is asked for", sort_key=0))
_NULL = "-0"


def _word(_kind: type[str], tokens: Sequence[Token]) -> str:
    r"""A word; one after `--` that begins with a dash has a \ before it, as in a query."""
    value = tokens[0].value
    dashed = isinstance(value, Literal) and value.startswith("-") and value != "-"
    return f"\\{value}" if dashed else value


Words = Annotated[str, Parameter(allow_leading_hyphen=True, converter=_word)]


@app.command
def index(
    *roots: Path,
    where: Annotated[NewStoreOptions, Flat] = NewStoreOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    exclude: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = (),
    include: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = (),
    watch: Flag = False,
    recheck: Flag = False,
    from_: Annotated[str | None, Parameter(name="--from"), INDEX] = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Make an index of every image below some folders, or bring it up to date.

    Only new and changed files are decoded: files are compared by size, by time and by change time,
    and where one differs by content. What is moved, renamed, touched or gone for a while keeps its
    embedding. It may be stopped at any moment; the next run goes on. A folder that is missing
    keeps its images as they are, and the exit code is 3.

    Args:
        roots: Folders; none takes all that were indexed before. What `remove` was told stays away
            until it is named here itself.
        exclude: Leave out a name anywhere below the folders, such as '*.tif' or 'private/', or a
            path below one of them, such as '2019/**/raw'; what it covers leaves the index. It is
            kept for later runs; `status` lists it.
        include: Take back such a pattern, or the path of what was removed.
        where: The index.
        model: The model, and how it is run.
        watch: Go on watching the folders, and keep the index up to date, until Ctrl-C.
        recheck: Read every known file, and compare its content: an edit that keeps size and time is
            not seen where the file system has no change time (FAT, many cloud and FUSE drives).
            Files that could not be read are tried again.
        from_: Copy another index without embedding anything: its folder, http://HOST:19530, or a
            .parquet or .npy file that `export` wrote.
        config: TOML file of settings; the command line wins.
        json: Print one JSON document.
    """
    del config  # read by the root command, before the settings are built
    launched = "RANK" in os.environ
    if launched and (watch or from_ is not None):
        raise ConfigError("--watch and --from are for one process: leave the launcher out.")
    if from_ is not None:
        from search.transfer.cli import copy_from

        if roots or watch or recheck or exclude or include:
            raise ConfigError("--from copies an index as it is; index folders with a second run.")
        return copy_from(from_, where, model, json)
    from search.places import find_place
    from search.update.differences import absolute_roots
    from search.update.indexing import Indexer
    from search.update.summary_text import summary_document, summary_notes, summary_text
    from search.update.watching import watched_updates

    crew = launched_crew() if launched else ALONE
    place = find_place(where, tuple(absolute_roots(roots)))
    progress = Progress("reading", "images")
    indexer = Indexer(place, model, crew, progress.show)
    with progress:
        summary = indexer.index(roots, exclude, include, recheck=recheck)
    note_all(summary_notes(summary))
    if json:
        print_document(summary_document(summary, str(place)))
    else:
        print_text(summary_text(summary, str(place)))
    if watch:
        with closing(place.open()) as store:
            watched = store.roots()
        for changed in watched_updates(indexer, watched):
            progress.end()
            note_all((*summary_notes(changed), summary_text(changed, str(place))))
    return exit_code(all_done=summary.is_whole)


@app.command
def query(
    *words: Words,
    like: Annotated[tuple[str, ...], Parameter(negative=""), ASKED] = (),
    queries: Annotated[Path | None, Parameter(allow_leading_hyphen=True), ASKED] = None,
    where: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    options: Annotated[QueryOptions, Flat] = QueryOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, Flat] = FilterOptions(),  # noqa: B008 - frozen
    output: Annotated[OutputOptions, Flat] = OutputOptions(),  # noqa: B008 - frozen
    config: Path | None = None,
) -> int:
    r"""Find the images that show something; results end where relevance does.

    Args:
        words: What they show: a dog + "at night" - people. `+` adds a term, `-` leaves out what
            shows it, 0.5: before a term is its weight, unless a digit follows as in 16:9, and
            ./photo.jpg is a picture. A word that begins with a dash of its own stands after --.
        like: A picture that they are like; any file of this machine.
        queries: A file of queries, one a line, or `-` for standard input; a line that begins with
            # is a comment, one with \# a query that does.
        where: The index.
        options: How many images, and which.
        filters: Which images are asked for.
        output: What is done with the answer.
        config: TOML file of settings; the command line wins.
    """
    del config
    from search.answers.answer import looked_for
    from search.answers.cli import check_outputs, keep_answers, show_answers
    from search.index import ImageIndex

    # As a short option it would take -0.5:dog to pieces, of which -o is one, too.
    if _NULL in words:
        output = replace(output, null=True)
    asked = _queries([word for word in words if word != _NULL], like, queries)
    check_outputs(output, (*like, queries))
    with ImageIndex.connect(where) as found:
        answers = looked_for(found.answer(asked, options, filters.filter()), found.store.roots())
        note_all(f"Too long, and cut by the model: {text}" for text in found.cut_queries(asked))
        if not any(answer.nearest for answer in answers):
            from search.unknown_values import unknown_values  # which no other query needs

            note_all(unknown_values(found.store, filters.filter()))
    show_answers(answers, output)
    return keep_answers(answers, output)


@app.command
def status(
    *,
    where: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Tell what an index holds.

    Args:
        where: The index.
        json: Print one JSON document.
    """
    from search.places import find_place
    from search.upkeep.status import read_status

    found = read_status(find_place(where))
    if json:
        print_document(found.to_dict())
    else:
        print_text(found.to_text())
    return DONE


@app.command
def remove(
    *paths: Path,
    gone: Flag = False,
    where: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    json: bool = False,
) -> int:
    """Forget images, with their embeddings; the files themselves are never touched.

    What is named stays away from later runs of `index`, until it is named there itself.

    Args:
        paths: Files, or folders with all below them.
        gone: Forget every image that was not there when its folder was last looked at.
        where: The index.
        json: Print one JSON document.
    """
    from search.places import find_place
    from search.upkeep.removal import remove_images

    removed = remove_images(find_place(where), paths, gone=gone)
    if json:
        print_document({"removed": removed})
    else:
        stays = " They stay away until they are named: footwork search index PATH" if paths else ""
        print_text(f"{removed:,} forgotten.{stays}")
    return DONE


def _queries(words: Sequence[str], like: Sequence[str], file: Path | None) -> list[Query]:
    from search.query.terms import parse_query, read_queries

    if file is None:
        return [parse_query(words, like)]
    if words or like:
        raise ConfigError("--queries brings its own queries; leave out words and --like.")
    return read_queries(file, sys.stdin.buffer)


for _room, _name, _help in (
    ("upkeep", "duplicates", "Find images that are there more than once; nothing is deleted."),
    ("upkeep", "doctor", "Examine an index; tell what is wrong with it, and mend it."),
    (
        *("transfer", "export"),
        "Write all images with their embeddings to a file that other programs read.",
    ),
):
    app.command(f"search.{_room}.cli:{_name}", name=_name, help=_help)
