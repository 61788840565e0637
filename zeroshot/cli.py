"""The commands of image labelling."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from runtime.cli import what_exists
from runtime.console import (
    DONE,
    exit_code,
    note,
    note_all,
    print_csv,
    print_document,
    print_json_lines,
    print_text,
)
from runtime.errors import ConfigError
from zeroshot.finetuning.config import FinetuneConfig
from zeroshot.options import LabelOptions, ModelOptions, SortingOptions
from zeroshot.teaching.options import TeachOptions
from zeroshot.ways import EvaluateOptions

if TYPE_CHECKING:
    from runtime.images.files import FoundImages
    from zeroshot.classifier import LabelledImage

app = App(
    name="zeroshot",
    help="Label images with words of your choice, and teach what words cannot say.",
    help_format="plaintext",
)

Flat = Parameter(name="*")
Images = Annotated[str, Parameter(allow_leading_hyphen=True)]
Output = Annotated[Path | None, Parameter(name=["--out", "-o"])]


@app.command
def label(
    *images: Images,
    what: Annotated[LabelOptions, Flat] = LabelOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    sorting: Annotated[SortingOptions, Flat] = SortingOptions(),  # noqa: B008 - frozen
    out: Output = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Say of each image which of your labels it shows, or that it shows none of them.

    Args:
        images: Folders, files, quoted patterns such as 'photos/**/*.jpg', or `-` for a list of
            them on standard input, one a line.
        what: Labels, and how they are put to the model.
        model: The model, and how it is run.
        sorting: What is done with the files.
        out: File to write, .csv, .tsv, .jsonl or .parquet; without it a table on a terminal, CSV
            elsewhere.
        config: TOML file of settings; the command line wins.
        json: Print JSON lines.
    """
    del config  # read by the root command, before the settings are built
    from runtime.accelerator import is_main_process
    from zeroshot.labelling import Labelling, open_labeller
    from zeroshot.rows import label_row, write_label_rows

    found = _found(images)
    labeller = open_labeller(what, model)
    note_all((*found.notes, *labeller.notes))
    if sorting.target is not None:
        from zeroshot.sorting import label_folders

        label_folders(labeller.labels)  # what could not be sorted is told before the work
    labelling = Labelling(labeller.label_files(found.paths), keeps=sorting.wanted)
    rows = map(label_row, labelling)
    if not is_main_process():
        deque(rows, maxlen=0)  # a share of the work is in them
        return DONE
    if out is not None:
        write_label_rows(rows, out, labeller.labels)
    else:
        _print_rows(rows, labeller.labels, json)
    note_all(labelling.faults)
    all_done = _sort(labelling.kept, sorting)
    return exit_code(all_done=all_done and not labelling.faults)


@app.command
def undo(record: Path, /) -> int:
    """Put back what `label --copy-to` or `label --move-to` did.

    Args:
        record: What it wrote, DIR/footwork-undo.jsonl.
    """
    from zeroshot.sorting import undo_sorting

    outcome = undo_sorting(record)
    print_text(outcome.to_text())
    return exit_code(all_done=not outcome.failed)


@app.command
def evaluate(
    folder: Path,
    /,
    *,
    options: Annotated[EvaluateOptions, Flat] = EvaluateOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    taught: Path | None = None,
    report: Path | None = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Measure how well labels in words, or a taught classifier, do on images whose class is known.

    Args:
        folder: One sub-folder a class, or a table with the columns `path` and `label`.
        options: Which templates are compared.
        model: The model, and how it is run.
        taught: A folder that `teach` made, judged in place of the words and compared with them.
        report: Folder for metrics.json, confusion.png and reliability.png.
        config: TOML file of settings; the command line wins.
        json: Print one JSON document.
    """
    del config
    from runtime.accelerator import is_main_process
    from zeroshot.evaluate import evaluate_images
    from zeroshot.labelled_images import read_labelled_images
    from zeroshot.labelling import open_encoder, open_taught

    images = read_labelled_images(folder)
    classifier = None if taught is None else open_taught(taught, model)
    encoder = open_encoder(model) if classifier is None else classifier.encoder
    found = evaluate_images(encoder, images, options, classifier)
    if report is not None and is_main_process():
        note_all(found.write_report(report))
    if json:
        print_document(found.to_dict())
    else:
        print_text(found.to_text())
    note_all(f"skipped {skipped.place}: {skipped.reason}." for skipped in found.skipped)
    return exit_code(all_done=not found.skipped)


@app.command
def teach(
    examples: Path,
    out: Path,
    /,
    *,
    options: Annotated[TeachOptions, Flat] = TeachOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    overwrite: bool = False,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Teach classes by a few images each, and say beforehand how good that will be.

    Args:
        examples: A folder with one sub-folder a class.
        out: Folder to publish, for `label --taught`.
        options: How it is taught.
        model: The model, and how it is run.
        overwrite: Replace the folder.
        config: TOML file of settings; the command line wins.
        json: Print one JSON document.
    """
    del config
    from zeroshot.labelling import teach_with

    done = teach_with(examples, out, options, model, overwrite=overwrite)
    note_all(done.notes)
    if json:
        print_document(done.manifest)
    else:
        print_text(done.to_text())
        print_text(f"\nUse it: footwork zeroshot label photos/ --taught {done.folder}")
    note_all(f"skipped {skipped.path}: {skipped.reason}." for skipped in done.skipped)
    return exit_code(all_done=not done.skipped)


@app.command
def finetune(
    examples: Path,
    out: Path,
    /,
    *,
    settings: Annotated[FinetuneConfig, Flat] = FinetuneConfig(),  # noqa: B008 - frozen
    resume: bool = False,
    overwrite: bool = False,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Fine-tune the image tower itself, where examples are many.

    Args:
        examples: A folder with one sub-folder a class, or with such folders named train,
            validation and test, or a table with the columns `path` and `label`.
        out: Folder to publish, for `label --taught`; it appears when all has succeeded.
        settings: Every setting of the run.
        resume: Go on with the unfinished run of this folder.
        overwrite: Replace the folder, or an unfinished run of it.
        config: TOML file of settings; the command line wins.
        json: Print one JSON document.
    """
    del config
    from zeroshot.finetuning.finetune import finetune as finetune_tower

    existing = what_exists(resume=resume, overwrite=overwrite)
    done = finetune_tower(examples, out, settings, existing=existing, notify=note)
    note_all(done.notes)
    if json:
        print_document(done.manifest)
    else:
        print_text(done.to_text())
    note_all(f"skipped {skipped.place}: {skipped.reason}." for skipped in done.skipped)
    return exit_code(all_done=not done.skipped)


def _found(sources: Sequence[str]) -> FoundImages:
    from runtime.images.files import find_images, listed_paths

    if not sources:
        raise ConfigError("No images are named. Name folders, files or patterns, or `-`.")
    named: list[str] = []
    for source in sources:
        named += listed_paths(sys.stdin) if source == "-" else [source]
    return find_images(named)


def _print_rows(rows: Iterable[Mapping[str, Any]], labels: Sequence[str], as_json: bool) -> None:
    from zeroshot.rows import flat_row, table_lines

    if as_json:
        print_json_lines(rows)
    elif sys.stdout.isatty():
        for line in table_lines(rows, labels):
            print_text(line)
    else:
        print_csv(rows, lambda row: flat_row(row, labels))


def _sort(labelled: Sequence[LabelledImage], options: SortingOptions) -> bool:
    """Write sidecars, copy or move; returns whether all of it could be done."""
    failed = 0
    if options.xmp:  # first, so that they go along
        from zeroshot.sidecars import write_sidecars

        sidecars = write_sidecars(labelled)
        note(f"{sidecars.written} sidecars say what their images show.")
        note_all(sidecars.failed)
        failed += len(sidecars.failed)
    if options.target is not None:
        from zeroshot.sorting import apply_plan, plan_sorting

        plan = plan_sorting(labelled, options.target, options.how)
        if not options.yes:
            note(plan.to_text())
        else:
            outcome = apply_plan(plan, note)
            note(outcome.to_text())
            failed += len(outcome.failed)
    return not failed
