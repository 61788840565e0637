"""The commands that bring embeddings in and out."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

from footwork.console import DONE, Progress, exit_code, note_all, print_document, print_text
from footwork.files.faults import fault_lines
from footwork.files.paths import path_line, path_text
from footwork.options import Flag, Flat
from search.options import FilterOptions, ModelOptions, StoreOptions


def export(
    out: Path,
    /,
    *,
    where: Annotated[StoreOptions, Flat] = StoreOptions(),  # noqa: B008 - frozen
    filters: Annotated[FilterOptions, Flat] = FilterOptions(),  # noqa: B008 - frozen
    json: Flag = False,
    config: Path | None = None,
) -> int:
    """Write all images with their embeddings to a file that other programs read.

    Args:
        out: A .parquet file; or a .npy file of embeddings alone, beside which the images stand in
            a .jsonl file of the same name, row by row, and the model in a .json file. Files of
            these names are replaced only if an export wrote them.
        where: The index.
        filters: Which images are written.
        json: Print one JSON document.
        config: TOML file of settings; the command line wins.
    """
    del config
    from search.places import find_place
    from search.transfer.export import export_images, require_exportable
    from search.unknown_values import unknown_values

    require_exportable(out)
    with closing(find_place(where).open()) as store:
        count = export_images(store, out, filters.filter())
        if not count:
            note_all(unknown_values(store, filters.filter()))
    if json:
        print_document({"images": count, "out": path_text(out)})
    else:
        print_text(f"{count:,} images with their embeddings in {path_line(out)}")
    return DONE


def copy_from(named: str, where: StoreOptions, model: ModelOptions, json: bool) -> int:
    """The command `index --from`."""
    from search.places import find_place
    from search.transfer.transfer import copy_index, find_source

    source = find_source(named, where)
    place = find_place(where, tuple(source.roots))
    with Progress("copying", "files") as progress:
        done = copy_index(source, place, model, lambda count: progress.show(count, None))
    note_all(done.notes)
    if json:
        print_document(done.to_dict(str(place)))
    else:
        print_text(done.to_text(str(place)))
    note_all(fault_lines(done.skipped, "Skipped, as they are no images"))
    return exit_code(all_done=not done.skipped)
