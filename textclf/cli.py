"""The commands of text classification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from footwork.cli import what_exists
from footwork.console import (
    note,
    note_all,
    print_csv,
    print_document,
    print_json_lines,
    print_text,
    report_skipped,
)
from footwork.files.paths import shell_word
from footwork.help_page import DATA, MODEL, RUN
from footwork.options import Flag, Flat
from textclf.classifier import ClassifierOptions
from textclf.config import TrainConfig
from textclf.data.options import LabelOptions, TextOptions
from textclf.predict import InputFormat

if TYPE_CHECKING:
    from textclf.training import TrainedRun

app = App(
    name="textclf",
    help="Fine-tune and use text classifiers.",
    help_format="plaintext",
    group_parameters=RUN,
)


@app.command
def train(
    data: str,
    out: Path,
    /,
    *,
    settings: Annotated[TrainConfig, Flat] = TrainConfig(),  # noqa: B008 - frozen
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    json: bool = False,
) -> int:
    """Fine-tune a classifier on a table, and publish it with proof of what it can do.

    Args:
        data: CSV, TSV, JSON lines or Parquet, a folder of train/validation/test files, or a Hub id.
        out: Folder to publish; it appears when all has succeeded.
        settings: Every setting of the run.
        config: TOML file of settings; the command line wins.
        resume: Go on with the unfinished run of this folder.
        overwrite: Replace the folder, or an unfinished run of it.
        json: Print one JSON document.
    """
    del config  # read by the root command, before the settings are built
    from footwork.accelerator import is_main_process
    from textclf.training import train as train_classifier

    existing = what_exists(resume=resume, overwrite=overwrite)
    said: list[str] = []

    def notify(text: str) -> None:
        said.append(" ".join(text.split()))
        note(text)

    done = train_classifier(data, out, settings, existing=existing, notify=notify)
    if not is_main_process():
        return 0  # another code from one process would end the main one
    # The audit has told those on the data.
    note_all(new for new in done.notes if not any(" ".join(new.split()) in s for s in said))
    if json:
        print_document(done.manifest)
    else:
        print_text(_summary(done))
    return report_skipped(done.skipped)


@app.command
def audit(
    data: str,
    /,
    *,
    settings: Annotated[TrainConfig, Flat] = TrainConfig(),  # noqa: B008 - frozen
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Look a table over before it costs a night of training; exit code 1 if it cannot be used.

    Args:
        data: What `train` takes.
        settings: Of the run that is planned.
        config: TOML file of settings; the command line wins.
        json: Print one JSON document, with the numbers of all rows.
    """
    del config
    from textclf.training import audit_table

    found = audit_table(data, settings)
    if json:
        print_document(found.to_dict())
    else:
        print_text(found.to_text())
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
    json: bool = False,
) -> int:
    """Judge a trained classifier on a table.

    Args:
        model: A trained folder, or the Hub id (owner/name) that it was pushed to.
        data: Labelled texts, as `train` takes them.
        options: How the table is read.
        answering: How the classifier answers.
        revision: Branch, tag or commit of the model on the Hub.
        json: Print one JSON document.
    """
    from textclf.assessment import assess

    found = assess(model, data, options, answering, revision=revision)
    note_all(found.notes)
    if json:
        print_document(found.evaluation.to_dict())
    else:
        print_text(found.evaluation.to_text())
    return report_skipped(found.skipped)


@app.command
def predict(
    model: str,
    data: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    input_format: Annotated[InputFormat, Parameter(name="--format"), DATA] = "auto",
    options: Annotated[TextOptions, Flat] = TextOptions(),  # noqa: B008 - frozen
    answering: Annotated[ClassifierOptions, Flat] = ClassifierOptions(),  # noqa: B008 - frozen
    revision: Annotated[str | None, MODEL] = None,
    raw_cells: Flag = False,
    json: bool = False,
) -> int:
    """Classify texts: one row out for each row in, in their order.

    A row's `id` is what its id column says. Without one it is the line on which
    the row begins, from 1, the header counted, as an editor shows it; in Parquet
    and in a JSON array it is the row's place, from 1.

    Args:
        model: A trained folder, or the Hub id (owner/name) that it was pushed to.
        data: A table of texts, or `-` for standard input.
        out: File to write, .csv, .tsv, .jsonl or .parquet; without it, CSV on standard output.
        input_format: auto, lines (each line is one text), csv, tsv or jsonl.
        options: How the table is read.
        answering: How the classifier answers.
        revision: Branch, tag or commit of the model on the Hub.
        raw_cells: In CSV and TSV, leave ids and labels alone that begin like a formula (=, +, -,
            @): otherwise a ' is put before them, unless they are numbers, so that no spreadsheet
            runs them.
        json: Print JSON lines instead of CSV.
    """
    from footwork.tables.writer import require_table
    from textclf.classifier import TextClassifier
    from textclf.predict import (
        COLUMNS,
        PredictOptions,
        flat_row,
        open_rows,
        predict_rows,
        write_predictions,
    )

    require_table(out, COLUMNS, (model, data), "p:")
    classifier = TextClassifier.load(model, answering, revision=revision)
    names = (*options.column_names, *classifier.text_columns)
    rows = open_rows(data, input_format, options.table_format, names)
    wanted = PredictOptions(
        text_columns=options.text_columns,
        id_column=options.id_column,
        skip_bad_rows=options.table_format.skip_bad_rows,
        source=rows.source,
    )
    answers = predict_rows(classifier, rows, wanted)
    if out is None:
        print_json_lines(answers) if json else print_csv(answers, flat_row, raw_cells=raw_cells)
    else:
        write_predictions(answers, out, raw_cells=raw_cells)
    note_all((*rows.notes, *answers.notes))
    return report_skipped([*rows.skipped, *answers.skipped])


@app.command
def merge(model: str, out: Path, /, *, revision: str | None = None, overwrite: bool = False) -> int:
    """Add an adapter into its base: a plain folder that any `from_pretrained` reads.

    The temperature goes into the weights, so that probabilities are calibrated in
    whatever loads the folder.

    Args:
        model: A trained folder with an adapter, or the Hub id that it was pushed to.
        out: Folder to publish.
        revision: Branch, tag or commit of the model on the Hub.
        overwrite: Replace the folder.
    """
    from textclf.merge import merge_adapter

    difference = merge_adapter(model, out, overwrite, revision=revision)
    print_text(f"{out} holds the merged model; its logits differ by {difference:.1e} at most.")
    return 0


def _summary(done: TrainedRun) -> str:
    from textclf.report.model_card import caveat, verdict

    split = done.manifest["evaluated_on"]
    lines = [f"On the {split} rows", "", done.evaluation.to_text(), "", "next to it"]
    for name, baseline in done.baselines.items():
        metric = baseline.metrics.get(baseline.primary_metric)
        shown = f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]" if metric else "–"
        lines.append(f"  {name:<10}{baseline.primary_metric} {shown}")
    for said in (verdict(done.evaluation, done.baselines.get("linear")), caveat(split)):
        if said:
            lines.append(said.replace("**", "").replace("`", ""))
    where = f", and at {done.address}" if done.address else ""
    lines += ["", f"{done.folder} is published{where}. Use it:"]
    used = shell_word(done.repository or done.folder)
    lines.append(f"  footwork textclf predict {used} texts.csv -o answers.csv")
    return "\n".join(lines)
