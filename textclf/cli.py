"""The commands of text classification."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from footwork.cli import tell_found
from footwork.console import (
    exit_code,
    note_all,
    print_csv,
    print_json_lines,
    report_skipped,
)
from footwork.finetuning.cli import add_commands
from footwork.help_page import DATA, MODEL, RUN
from footwork.options import ConfigFile, Flag, Flat, Output
from textclf.classifier import ClassifierOptions
from textclf.config import LabelOptions, TextOptions, TrainConfig
from textclf.predict import InputFormat

app = App(
    name="textclf",
    help="Fine-tune and use text classifiers.",
    help_format="plaintext",
    group_parameters=RUN,
)


add_commands(
    app,
    TrainConfig,
    "textclf.task:INTERFACE",
    "train",
    "Labelled texts: CSV, TSV, JSON lines or Parquet, a folder of train/validation/test files or "
    "of `save_to_disk`, or a Hub id.",
)


@app.command
def audit(
    data: str,
    /,
    *,
    settings: Annotated[TrainConfig, Flat] = TrainConfig(),  # noqa: B008 - frozen
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Look a table over before it costs a night of training; exit code 1 if it cannot be used.

    Args:
        data: What `train` takes.
        settings: Of the run that is planned.
        json: Print one JSON document, with the numbers of all rows.
    """
    from textclf.audit.audit import audit_table

    found = audit_table(data, settings)
    tell_found(found, json=json)
    return 0 if found.usable else 1


@app.command
def evaluate(
    model: str,
    data: str,
    /,
    *,
    options: Annotated[LabelOptions, Flat] = LabelOptions(),  # noqa: B008 - frozen
    answering: Annotated[ClassifierOptions, Flat] = ClassifierOptions(),  # noqa: B008 - frozen
    revision: Annotated[str | None, MODEL] = None,
    out: Output = None,
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Judge a trained classifier on a table.

    Args:
        model: A trained folder, or the Hub id (owner/name) that it was pushed to.
        data: Labelled texts, as `train` takes them; of several splits the test is judged, else the
            validation, else the train.
        options: How the table is read.
        answering: How the classifier answers.
        revision: Branch, tag or commit of the model on the Hub.
        out: File to write: .json is what was found, as with --json; .csv, .tsv, .jsonl or .parquet
            is the answer to each row as `predict` gives it, beside its `true_label`.
        json: Print one JSON document.
    """
    from textclf.assessment import evaluate as judge
    from textclf.assessment import require_output, write_assessment

    require_output(out, (model, data))
    found = judge(model, data, options, answering, revision=revision)
    if out is not None:
        write_assessment(found, out)
    note_all(found.notes)
    tell_found(found.evaluation, json=json)
    return report_skipped(found.skipped)


@app.command
def predict(
    model: str,
    data: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Output = None,
    input_format: Annotated[InputFormat, Parameter(name="--format"), DATA] = "auto",
    options: Annotated[TextOptions, Flat] = TextOptions(),  # noqa: B008 - frozen
    answering: Annotated[ClassifierOptions, Flat] = ClassifierOptions(),  # noqa: B008 - frozen
    revision: Annotated[str | None, MODEL] = None,
    keep_columns: Flag = False,
    raw_cells: Flag = False,
    _config: ConfigFile = None,
    json: bool = False,
) -> int:
    """Classify texts: one row out for each row in, in their order.

    A row's `id` is what its id column says. Without one it is the line on which
    the row begins, from 1, the header counted, as an editor shows it; in Parquet
    and in a JSON array it is the row's place, from 1. A row whose text is empty is
    marked as abstained, and makes the exit code 3.

    Args:
        model: A trained folder, or the Hub id (owner/name) that it was pushed to.
        data: A table of texts, the id of a data set on the Hub, or `-` for standard input.
        out: File to write, .csv, .tsv, .jsonl or .parquet; without it, CSV on standard output.
        input_format: auto, lines (each line is one text), csv, tsv or jsonl.
        options: How the table is read.
        answering: How the classifier answers.
        revision: Branch, tag or commit of the model on the Hub.
        keep_columns: Give each answer the columns of its row, too: one that is called as ours are,
            such as `label`, stands there as `input:label`.
        raw_cells: In CSV and TSV, leave texts alone that begin like a formula (=, +, -,
            @): otherwise a ' is put before them, unless they are numbers, so that no spreadsheet
            runs them.
        json: Print JSON lines instead of CSV; a file is written in the format of its ending.
    """
    from footwork.evaluation.decision import flat_row
    from footwork.tables.writer import require_table
    from textclf.classifier import TextClassifier
    from textclf.predict import COLUMNS, FURTHER, predict_rows, write_predictions

    if not keep_columns:
        require_table(out, COLUMNS, (model, data), FURTHER)
    classifier = TextClassifier.load(model, answering, revision=revision)
    answers = predict_rows(classifier, data, options, input_format, keep_columns=keep_columns)
    if keep_columns:  # of which the table knows
        require_table(out, COLUMNS, (model, data), FURTHER, answers.columns)
    if out is None:
        print_json_lines(answers) if json else print_csv(answers, flat_row, raw_cells=raw_cells)
    else:
        write_predictions(answers, out, raw_cells=raw_cells)
    note_all(answers.notes)
    return report_skipped(answers.skipped) or exit_code(all_done=not answers.empty)
