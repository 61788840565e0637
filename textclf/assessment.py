"""A trained classifier, judged on a table that it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footwork.arrays import AnyArray, FloatArray
from footwork.evaluation.decision import DecisionRule, Predictions
from footwork.evaluation.result import Assessment, evaluate_logits
from footwork.files.folders import write_json
from footwork.files.outputs import require_json
from footwork.finetuning.data import remark_on_known
from footwork.tables.columns import find_name, label_names, possible_names
from footwork.tables.reader import Table
from footwork.tables.writer import require_table
from textclf.classifier import (
    ClassifierOptions,
    TextClassifier,
    TextRow,
    opened_classifier,
    row_prediction,
)
from textclf.columns import (
    Columns,
    StatedColumns,
    choose_columns,
    find_text_columns,
    id_column,
    row_id,
)
from textclf.config import LabelOptions
from textclf.data import Examples, load_table, read_examples
from textclf.predict import COLUMNS, FURTHER, cut_note, require_text_count, write_predictions

if TYPE_CHECKING:
    from footwork.finetuning.train import TrainedRun

TRUE = "true_label"
"""Column of a row's own label beside the answer."""


def evaluate(
    model: TextClassifier | TrainedRun | Path | str,
    data: Any,
    options: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    answering: ClassifierOptions = ClassifierOptions(),  # noqa: B008 - frozen
    *,
    revision: str | None = None,
) -> Assessment:
    """Judge a trained classifier on labelled texts.

    The columns default to those of the training, where the table has them.

    Args:
        model: A trained folder, one of the Hub, a classifier that is loaded, or the run of one.
        data: What `train` takes; of several splits the test is judged, else the validation, else
            the train.
        options: How it is read.
        answering: How the classifier is loaded, where it is not.
        revision: Branch, tag or commit of the model on the Hub.

    Raises:
        ConfigError: `model` is no classifier of texts, `answering` or `revision` are given with one
            that is loaded, or `answering` does not fit the model.
        ModelError: The folder cannot be loaded.
        DataError: The table cannot be read, has another number of texts a row than the model
            takes, or has labels that the model does not know.
    """
    options = LabelOptions.given("options", options)
    classifier = opened_classifier(model, answering, revision)
    trained = StatedColumns(classifier.text_columns, classifier.label_column)
    names = (*options.column_names, *trained.text, *possible_names(trained.label))
    table = load_table(data, options.table_format, names)
    columns = _columns(table, options, trained)
    examples = read_examples(table, columns, options, classifier.labels, classifier.task)
    cut = classifier.texts_cut
    logits = classifier.logits(examples.texts, examples.pairs)
    evaluation = evaluate_logits(
        classifier.task, classifier.labels, examples.targets, logits, given=classifier.rule.given
    )
    remarks = remark_on_known(classifier.trained_on, table.sha256, "texts")
    evaluation = replace(evaluation, remarks=(*evaluation.remarks, *remarks))
    notes = examples.notes
    if cut := classifier.texts_cut - cut:
        notes = (*notes, cut_note(cut, classifier))
    taken = (*columns.text, *columns.labels)
    name = id_column(table.columns, options.id_column, taken, table.source)
    own = dict(zip(table.rows, table.columns[name], strict=True)) if name else {}
    ids = [row_id(own.get(row), row) for row in examples.rows]
    answers = partial(_answers, classifier.rule, ids, examples, logits)
    return Assessment(evaluation, notes, examples.skipped, answers)


def _answers(
    rule: DecisionRule, ids: Sequence[str], examples: Examples, logits: FloatArray
) -> Predictions:
    """The answers to examples, a row of logits (N, C) each, with their true labels."""
    true = [{TRUE: label} for label in written(examples.targets, rule.labels)]
    rows = map(TextRow, ids, examples.texts, examples.pairs or repeat(None), true)
    return Predictions(map(partial(row_prediction, rule), rows, logits))


def written(targets: AnyArray, labels: Sequence[str]) -> list[Any]:
    """What targets say: a label each, several, or a number."""
    if targets.ndim == 2:
        return [list(compress(labels, row)) for row in targets.tolist()]
    return [labels[one] if isinstance(one, int) else one for one in targets.tolist()]


def require_output(path: Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """See that `write_assessment` can write a file, and replaces none but one of its own."""
    if path is not None and path.suffix.lower() == ".json":
        require_json(path, {"task", "metrics", "per_class"}, inputs)
    else:
        require_table(path, (*COLUMNS, TRUE), inputs, FURTHER)


def write_assessment(found: Assessment, path: Path) -> None:
    """Write what was found, as .json; or, into a table, the answers beside the true labels."""
    if path.suffix.lower() == ".json":
        write_json(path, found.evaluation.to_dict())
    else:
        write_predictions([answer.to_row() for answer in found.predictions], path)


def _columns(table: Table, options: LabelOptions, trained: StatedColumns) -> Columns:
    """Those of the training where the user states none and the table has them."""
    label = trained.label
    if label and not all(
        find_name(table.columns, one) for one in label_names(table.columns, label)
    ):
        label = None
    label, text, known = options.label_column or label, options.text_columns, trained.text
    note = None
    if known and not text and ("column_1" not in table.columns or set(known) <= set(table.columns)):
        # Without names of columns, what they hold must tell.
        text, note = find_text_columns(list(table.columns), known, label, table.source)
    stated = StatedColumns(text, label, options.id_column)
    columns = choose_columns(table.columns, stated, table.source)
    require_text_count(trained.text, columns.text, table.source)
    return replace(columns, notes=(*columns.notes, note)) if note else columns
