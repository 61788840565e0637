"""What the command line does with answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from footwork.console import (
    exit_code,
    note,
    note_all,
    print_csv,
    print_document,
    print_json_lines,
    print_picture,
    print_text,
)
from footwork.errors import ImageError
from footwork.files.faults import Fault, fault_lines
from footwork.files.outputs import require_makeable, require_page
from footwork.files.paths import path_line
from search.answers.answer import Answer
from search.answers.rows import (
    COLUMNS,
    answer_document,
    answer_lines,
    flat_rows,
    path_bytes,
    write_hits,
)
from search.options import OutputOptions


def check_outputs(output: OutputOptions, inputs: Iterable[str | Path | None]) -> None:
    """See that files can be written, before anything is asked.

    Args:
        output: Names them.
        inputs: What is read meanwhile.
    """
    if output.out is not None:
        from footwork.tables.writer import require_table  # which few queries need

        require_table(output.out, COLUMNS, inputs, "query")
    require_page(output.html)
    require_makeable(output.copy_to)


def show_answers(answers: Sequence[Answer], output: OutputOptions) -> None:
    """Print what was found."""
    if output.json and len(answers) == 1:
        print_document(answer_document(answers[0]))
    elif output.json:
        print_json_lines(map(answer_document, answers))
    elif output.csv:
        print_csv(flat_rows(answers), dict, raw_cells=output.raw_cells)
    elif output.paths or output.null:
        sys.stdout.buffer.writelines(path_bytes(answers, b"\0" if output.null else b"\n"))
    else:
        for answer in answers:
            _print_table(answer, heads=len(answers) > 1)
            if output.preview:
                _preview(answer)


def keep_answers(answers: Sequence[Answer], output: OutputOptions) -> int:
    """Write files, and tell what is not there; returns the exit code."""
    faults = {one.query: one.fault for one in answers if one.fault is not None}
    note_all(f"skipped {path_line(query)}: {path_line(fault)}." for query, fault in faults.items())
    all_done = not faults
    missing = {hit.record.path: hit.missing for one in answers for hit in one.hits if hit.missing}
    gone = [Fault(Path(path), reason) for path, reason in missing.items()]
    note_all(fault_lines(gone, "Found, but not there"))
    if output.out is not None:
        write_hits(answers, output.out, raw_cells=output.raw_cells)
    if output.html is not None:
        from search.pages.contact_sheet import write_contact_sheet
        from search.pages.images import kept_thumbnails

        write_contact_sheet(answers, output.html, kept_thumbnails())
        note(f"The images are on {path_line(output.html)}")
    if output.copy_to is not None:
        from search.answers.copies import copy_hits

        outcome = copy_hits([hit for answer in answers for hit in answer.hits], output.copy_to)
        note(outcome.to_text())
        all_done = all_done and not outcome.failed
    return exit_code(all_done=all_done)


def _print_table(answer: Answer, *, heads: bool) -> None:
    if heads:
        print_text(path_line(answer.query))
    # A terminal that says it has no width leaves paths whole.
    width = (os.get_terminal_size().columns or None) if sys.stdout.isatty() else None
    for line in answer_lines(answer, width):
        print_text(line)


def _preview(answer: Answer) -> None:
    """Draw the hits into the terminal."""
    from search.answers.terminal_pictures import picture_protocol, picture_sequence
    from search.pages.images import kept_thumbnails

    protocol = picture_protocol(os.environ, sys.stdout.isatty())
    if protocol is None:
        note("This terminal shows no images. --html FILE makes a page of them.")
        return
    thumbnails = kept_thumbnails()
    for hit in answer.hits:
        try:
            picture = thumbnails.of(Path(hit.record.path), hit.record.content, hit.missing)
        except ImageError as error:
            note(str(error))
            continue
        print_picture(picture_sequence(picture, protocol))
        print_text(path_line(hit.record.path))
