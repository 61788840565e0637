"""The commands that look after an index."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from footwork.console import (
    DONE,
    SKIPPED,
    Progress,
    exit_code,
    note,
    note_all,
    print_csv,
    print_document,
    print_text,
)
from footwork.errors import ConfigError
from footwork.files.paths import path_line
from footwork.help_page import METHOD
from footwork.options import Flag, Flat
from search.options import FilterOptions, StoreOptions

if TYPE_CHECKING:
    from search.upkeep.duplicates import Duplicates


def duplicates(
    *,
    near: Annotated[float | None, METHOD] = None,
    look: Annotated[bool, METHOD] = True,
    where: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, Flat] = FilterOptions(),  # noqa: B008 - frozen
    paths: Flag = False,
    null: Annotated[bool, Parameter(name=["--null", "-0"], negative="")] = False,
    csv: Flag = False,
    raw_cells: Flag = False,
    json: Flag = False,
    html: Path | None = None,
    config: Path | None = None,
) -> int:
    """Find images that are there more than once, and say which to keep; nothing is deleted.

    Copies and versions that can be made of the one that is kept (rotated, mirrored, cropped,
    bordered, grey, re-encoded, smaller) are duplicates; what is only similar is told as such.

    Args:
        near: Least cosine of images that are compared; 1 takes only those of the same bytes. If
            not given, 0.9, or 0.985 with --no-look.
        look: Open pictures that are alike by their embeddings, and compare them; --no-look is for
            images that are not on this machine, of which nothing can be verified.
        where: The index.
        filters: Which images are compared.
        paths: Print the paths alone of those that need not be kept, one a line: exact copies and
            versions that were verified just now, file by file; never what is only similar.
        null: The same, each ended by NUL in place of a line end: for xargs -0.
        csv: Print CSV.
        raw_cells: In CSV, leave alone what begins like a formula (=, +, -, @): otherwise a ' is
            put before it, so that no spreadsheet runs the name of a file.
        json: Print one JSON document.
        html: File for one page that shows all groups.
        config: TOML file of settings; the command line wins.
    """
    del config  # read by the root command, before the settings are built
    from footwork.files.outputs import require_page
    from search.upkeep.duplicate_rows import (
        duplicate_cells,
        duplicates_document,
        duplicates_lines,
        duplicates_notes,
        spare_paths,
    )

    if sum((csv, json, paths or null)) > 1:
        raise ConfigError("--paths, --csv and --json exclude each other. Take one.")
    require_page(html)
    found = _find_duplicates(where, filters, near, look)
    if json:
        print_document(duplicates_document(found))
    elif csv:
        print_csv(duplicate_cells(found), dict, raw_cells=raw_cells)
    elif paths or null:
        for path in spare_paths(found, b"\0" if null else b"\n"):
            sys.stdout.buffer.write(path)
    else:
        for text in duplicates_lines(found):
            print_text(text)
    note_all(duplicates_notes(found))
    if html is not None:
        _write_page(found, html)
    return exit_code(all_done=not (found.unseen or found.changed))


def _find_duplicates(
    where: StoreOptions, filters: FilterOptions, near: float | None, look: bool
) -> Duplicates:
    from search.places import find_place
    from search.unknown_values import unknown_values
    from search.upkeep.duplicates import find_duplicates

    with closing(find_place(where).open()) as store:
        with Progress("comparing", "images") as progress:
            found = find_duplicates(
                store, near, filters.filter(), look=look, on_progress=progress.show
            )
        if not found.images:
            note_all(unknown_values(store, filters.filter()))
    return found


def _write_page(found: Duplicates, path: Path) -> None:
    from search.pages.duplicates import write_duplicates_page
    from search.pages.images import kept_thumbnails

    write_duplicates_page(found, path, kept_thumbnails())
    note(f"The pictures are on {path_line(path)}")


def doctor(
    *,
    where: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    repair: Flag = False,
    model: bool = True,
    json: Flag = False,
) -> int:
    """Examine an index; tell what is wrong with it, and what to do.

    The exit code is 0 where all is well, 3 where something is to be mended, or was, and 1 where
    the index cannot be read at all.

    Args:
        where: The index.
        repair: Mend what can be mended; no image file is touched, and no embedding is lost that
            could be kept. A damaged catalog is set aside: the copy of it that `index` last made
            takes its place, or an empty one where that is damaged, too.
        model: Load the model and see whether it is still the one that the index was made with;
            only if it is on this machine.
        json: Print one JSON document.
    """
    from search.places import find_place
    from search.upkeep import doctor

    work = doctor.repair if repair else doctor.examine
    report = work(find_place(where), with_model=model)
    if json:
        print_document(report.to_dict())
    else:
        print_text(report.to_text())
    return DONE if report.is_well else SKIPPED
