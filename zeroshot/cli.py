"""The commands of image labelling."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from footwork.cli import tell_found
from footwork.console import (
    DONE,
    Progress,
    exit_code,
    note,
    note_all,
    print_csv,
    print_document,
    print_json_lines,
    print_text,
    report_skipped,
)
from footwork.errors import ConfigError
from footwork.files.faults import counted
from footwork.files.folders import write_json
from footwork.files.outputs import require_json
from footwork.files.paths import path_line, shell_word
from footwork.finetuning.cli import add_commands
from footwork.help_page import RUN
from footwork.options import ConfigFile, Flag, Flat, Output
from footwork.processes import launched_processes
from zeroshot.options import (
    EvaluateOptions,
    FinetuneConfig,
    IndexOptions,
    LabelledIndexOptions,
    LabelOptions,
    ModelOptions,
    SortingOptions,
    TeachOptions,
    is_finetuned,
)

if TYPE_CHECKING:
    from footwork.encoder.protocol import ImageTextEncoder
    from footwork.images.finding import FoundImages
    from footwork.prompts.class_embeddings import OnProgress
    from zeroshot.classifier import VectorLabeller
    from zeroshot.labelled_images import SkippedImage
    from zeroshot.rows import LabelledImage

app = App(
    name="zeroshot",
    help="Label images with words of your choice, and teach what words cannot say.",
    help_format="plaintext",
    group_parameters=RUN,
)

_MANY_PROMPTS = 5000
Images = Annotated[str, Parameter(allow_leading_hyphen=True)]


@app.command
def label(
    *images: Images,
    what: Annotated[LabelOptions, Flat] = LabelOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    index_options: Annotated[LabelledIndexOptions, Flat] = LabelledIndexOptions(),  # noqa: B008 - frozen
    sorting: Annotated[SortingOptions, Flat] = SortingOptions(),  # noqa: B008 - frozen
    out: Output = None,
    raw_cells: Flag = False,
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Say of each image which of your labels it shows, or that it shows none of them.

    Args:
        images: Folders, files, quoted patterns such as 'photos/**/*.jpg', or `-` for a list of
            folders and files on standard input, one a line; with --index none takes all images of
            the index.
        what: Labels, and how they are put to the model.
        model: The model, and how it is run.
        index_options: An index whose embeddings are taken, and which of its images.
        sorting: What is done with the files.
        out: File to write, .csv, .tsv, .jsonl or .parquet; without it a table on a terminal, CSV
            elsewhere.
        raw_cells: In CSV and TSV, leave alone what begins like a formula (=, +, -, @): otherwise a
            ' is put before it, so that no spreadsheet runs the name of a file.
        json: Print JSON lines.
    """
    from footwork.tables.writer import require_table
    from zeroshot.indexed import keep_labels, label_images, opened_index
    from zeroshot.rows import COLUMNS, FURTHER
    from zeroshot.sorting.plan import label_folders

    require_table(
        out,
        COLUMNS,
        (what.labels_file, what.templates, what.taught, "-" if "-" in images else None),
        FURTHER,
    )
    named = _named_images(images, index_options)
    what, model = _located(what, model)
    reading = partial(_reading, progress := Progress("reading", "prompts"))
    with opened_index(index_options, model) as index:
        labeller = _open_labeller(what, model, index, reading)
        if index is None:
            answers = labeller.label_files(named.paths)
        else:
            where, to_sort = index_options.filter(), sorting.wanted
            answers = label_images(labeller, index, named.paths, where, to_sort=to_sort)
            answers = (
                keep_labels(answers, index, note)
                if index_options.keep and launched_processes().is_main
                else answers
            )
        progress.end()
        note_all((*named.remarks, *labeller.notes))
        if sorting.target is not None:
            label_folders(labeller.labels)  # tells before the work what could not be sorted by
        if not launched_processes().is_main:
            deque(answers, maxlen=0)  # a share of the work is in them
            return DONE
        told, labels = _Told(keeps=sorting.wanted), labeller.labels
        _write_answers(told.passing(answers), labels, out, as_json=json, raw_cells=raw_cells)
    note_all((*told.notes, *told.faults))
    used = _use_labels(told.kept, sorting)
    return exit_code(all_done=used and not (told.faults or named.unlisted))


@app.command
def undo(record: Path, /, *, trust: bool = False) -> int:
    """Put back what `label --copy-to` or `label --move-to` did.

    Args:
        record: What it wrote, DIR/footwork-undo.jsonl.
        trust: Believe what another machine or user recorded, and move back what was changed since.
    """
    from zeroshot.sorting.undo import undo_sorting

    outcome = undo_sorting(record, trust=trust)
    print_text(outcome.to_text())
    return exit_code(all_done=not outcome.failed)


@app.command
def evaluate(
    folder: Path,
    /,
    *,
    options: Annotated[EvaluateOptions, Flat] = EvaluateOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    index_options: Annotated[IndexOptions, Flat] = IndexOptions(),  # noqa: B008 - frozen
    taught: str | None = None,
    report: Path | None = None,
    out: Output = None,
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Measure how well labels in words, or a taught classifier, do on images whose class is known.

    Args:
        folder: One sub-folder a class, a table with the columns `path` and `label`, or a Hub id; of
            several splits the test is judged, else the validation, else the train.
        options: Which templates are compared.
        model: The model, and how it is run.
        index_options: An index whose embeddings are taken.
        taught: A folder that `teach` made, or its Hub id, judged in place of the words and compared
            with them; or one that `finetune` made, judged by itself, without templates and seed.
        report: Folder for metrics.json, wrong.csv, confusion.png and reliability.png.
        out: File to write, .json: what was found, as with --json.
        json: Print one JSON document.
    """
    from tempfile import TemporaryDirectory

    from zeroshot.assessment import by_rows, evaluate_images
    from zeroshot.classifier import open_encoder
    from zeroshot.evaluation import require_report_place
    from zeroshot.indexed import opened_index
    from zeroshot.labelled_images import read_labelled_images
    from zeroshot.taught import open_taught

    read = (folder, taught, model.model_id, index_options.index)
    if report is not None:  # before the work
        require_report_place(report, read)
    require_json(out, {"per_class", "calibration"}, read)
    what, model = _located(LabelOptions(taught=taught), model)
    if what.taught is not None and _holds_finetuned(what.taught):
        if report is not None or index_options.is_named:
            raise ConfigError(
                f"{taught} is a fine-tuned model, which is judged by itself, on the images: leave "
                "out --report and --index."
            )
        from zeroshot.finetuned import open_finetuned
        from zeroshot.task import assess

        with TemporaryDirectory(prefix="footwork-") as files:
            found = assess(folder, open_finetuned(Path(what.taught), model, None), Path(files))
        note_all(found.notes)
        return _told_judged(found.evaluation, found.skipped, out, json=json)
    with TemporaryDirectory(prefix="footwork-") as files, ExitStack() as opened:
        images = read_labelled_images(folder, Path(files))  # before a model is loaded in vain
        index = opened.enter_context(opened_index(index_options, model))
        classifier = (
            None if what.taught is None else open_taught(Path(what.taught), model, encoder=index)
        )
        encoder = classifier.encoder if classifier else index or open_encoder(model)
        judged = by_rows(evaluate_images(encoder, images, options, classifier), Path(files))
    if report is not None and launched_processes().is_main:
        note_all(judged.write_report(report))
    return _told_judged(judged, judged.skipped, out, json=json)


@app.command
def teach(
    examples: Path,
    out: Path,
    /,
    *,
    options: Annotated[TeachOptions, Flat] = TeachOptions(),  # noqa: B008 - frozen
    model: Annotated[ModelOptions, Flat] = ModelOptions(),  # noqa: B008 - frozen
    index_options: Annotated[IndexOptions, Flat] = IndexOptions(),  # noqa: B008 - frozen
    overwrite: bool = False,
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Teach classes by a few images each, and say beforehand how good that will be.

    Args:
        examples: A folder with one sub-folder a class, a table with the columns `path` and `label`,
            or a Hub id; of several splits the train is taught.
        out: Folder to publish, for `label --taught`.
        options: How it is taught.
        model: The model, and how it is run.
        index_options: An index whose embeddings are taken.
        overwrite: Replace the folder.
        json: Print one JSON document.
    """
    from tempfile import TemporaryDirectory

    from footwork.files.folders import require_free
    from zeroshot.classifier import open_encoder
    from zeroshot.indexed import opened_index
    from zeroshot.labelled_images import read_examples
    from zeroshot.taught import teach_files

    require_free(
        out, overwrite, (examples, *options.unlabelled, model.model_id, index_options.index)
    )
    with TemporaryDirectory(prefix="footwork-") as files, ExitStack() as opened:
        place = Path(files)
        images = read_examples(examples, place)  # before a model is loaded in vain
        encoder = opened.enter_context(opened_index(index_options, model)) or open_encoder(model)
        done = teach_files(encoder, images, out, options, overwrite=overwrite, files=place)
    note_all(done.notes)
    if json:
        print_document(done.manifest)
    else:
        print_text(done.to_text())
        print_text(f"\nUse it: footwork zeroshot label photos/ --taught {shell_word(done.folder)}")
    return report_skipped(done.skipped)


add_commands(
    app,
    FinetuneConfig,
    "zeroshot.task:INTERFACE",
    "finetune",
    "Labelled images: a folder with one sub-folder a class, or with such folders named train, "
    "validation and test, a table with the columns `path` and `label`, a folder of `save_to_disk`, "
    "or a Hub id.",
)


@dataclass(slots=True)
class _Told:
    """What is to be told when all answers have come, and those that files are sorted by."""

    keeps: bool
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    kept: list[LabelledImage] = field(default_factory=list)

    def passing(self, answers: Iterable[LabelledImage]) -> Iterator[LabelledImage]:
        for answer in answers:
            if answer.fault is not None:
                self.faults.append(f"skipped {path_line(answer.path or '-')}: {answer.fault}.")
            if answer.note is not None:
                self.notes.append(f"{path_line(answer.path or '-')}: {answer.note}.")
            if self.keeps:
                self.kept.append(replace(answer, scores={}))  # by which no file is sorted
            yield answer


def _open_labeller(
    what: LabelOptions,
    model: ModelOptions,
    encoder: ImageTextEncoder | None,
    on_progress: OnProgress,
) -> VectorLabeller[Any]:
    """Load the model, unless `encoder`, that of an index, is it; make the labels known to it."""
    from footwork.class_names import read_class_names
    from zeroshot.classifier import ZeroShotClassifier, open_encoder

    if what.taught is None:
        labels = read_class_names(what.labels, what.labels_file)  # before a model is loaded in vain
        return ZeroShotClassifier(encoder or open_encoder(model), labels, what, on_progress)
    if not _holds_finetuned(what.taught):
        from zeroshot.taught import open_taught

        return open_taught(Path(what.taught), model, what.abstain_below, encoder)
    if encoder is not None:
        raise ConfigError(
            f"{what.taught} holds a model of its own, fine-tuned, which embeds nothing, so that no "
            "index can serve it. Leave out --index."
        )
    from zeroshot.finetuned import open_finetuned

    return open_finetuned(Path(what.taught), model, what.abstain_below)


def _holds_finetuned(folder: str) -> bool:
    from footwork.files.folders import read_manifest

    return is_finetuned(read_manifest(Path(folder), verify=False))


def _told_judged(
    judged: Any, skipped: Iterable[SkippedImage], out: Path | None, *, json: bool
) -> int:
    if out is not None and launched_processes().is_main:
        write_json(out, judged.to_dict())
    tell_found(judged, json=json)
    return report_skipped(skipped)


def _named_images(sources: Sequence[str], index_options: IndexOptions) -> FoundImages:
    """The images that are named; none where those of an index are meant."""
    from footwork.images.finding import FoundImages, find_images, listed_paths

    if not sources:
        if index_options.is_named:
            return FoundImages((), ())
        raise ConfigError("No images are named. Name folders, files or patterns, `-`, or --index.")
    listed = list(listed_paths(sys.stdin.buffer.read())) if "-" in sources else []
    named = chain.from_iterable(listed if source == "-" else [source] for source in sources)
    return find_images(named, listed=set(listed))


def _located(what: LabelOptions, model: ModelOptions) -> tuple[LabelOptions, ModelOptions]:
    """Both as they are meant: what was taught as a folder, a revision where it belongs."""
    from footwork.models.hub import trained_folder

    if what.taught is None:
        return what, model
    if model.model_id is not None:
        return replace(what, taught=str(trained_folder(what.taught))), model
    folder = trained_folder(what.taught, model.revision)
    return replace(what, taught=str(folder)), replace(model, revision=None)


def _reading(progress: Progress, done: int, of: int) -> None:
    """What takes minutes is told beforehand, though nobody watches the line."""
    if not done and of > _MANY_PROMPTS:
        note(f"Reading {of:,} prompts for the labels, once; the next run finds them on the disk.")
    progress.show(done, of)


def _write_answers(
    answers: Iterable[LabelledImage],
    labels: Sequence[str],
    out: Path | None,
    *,
    as_json: bool,
    raw_cells: bool,
) -> None:
    from zeroshot.rows import flat_row, label_row, table_lines, write_label_rows

    rows = map(label_row, answers)
    if out is not None:
        write_label_rows(rows, out, labels, raw_cells=raw_cells)
    elif as_json:
        print_json_lines(rows)
    elif sys.stdout.isatty():
        for line in table_lines(rows, labels):
            print_text(line)
    else:
        print_csv(rows, lambda row: flat_row(row, labels), raw_cells=raw_cells)


def _use_labels(labelled: Sequence[LabelledImage], options: SortingOptions) -> bool:
    """Write sidecars, copy or move; gives whether all of it could be done."""
    failed = 0
    if options.xmp:  # first, so that they go along
        from zeroshot.sorting.sidecars import write_sidecars

        sidecars = write_sidecars(labelled)
        says = "sidecar says what its image shows", "sidecars say what their images show"
        note_all((f"{counted(sidecars.written, *says)}.", *sidecars.failed))
        failed += len(sidecars.failed)
    if options.target is not None:
        from zeroshot.sorting.plan import apply_plan, plan_sorting

        plan = plan_sorting(labelled, options.target, options.how)
        failed += len(plan.faults)
        if not options.yes:
            note(plan.to_text())
        else:
            outcome = apply_plan(plan, note)
            note_all((*plan.staying(), outcome.to_text()))
            failed += len(outcome.failed)
    return not failed
