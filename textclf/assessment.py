"""A trained classifier, judged on a table that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from footwork.evaluation.result import Assessment, evaluate_logits
from footwork.tables.columns import find_name, label_names, possible_names
from footwork.tables.reader import Table
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.columns import Columns, StatedColumns, choose_columns, find_text_columns
from textclf.config import LabelOptions
from textclf.data import load_table, read_examples
from textclf.predict import require_text_count


def assess(
    model: Path | str,
    data: Any,
    options: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    answering: ClassifierOptions = ClassifierOptions(),  # noqa: B008 - frozen
    *,
    revision: str | None = None,
) -> Assessment:
    """Judge a trained folder, or one of the Hub, on labelled texts.

    The columns default to those of the training, where the table has them.

    Raises:
        ModelError: The folder cannot be loaded.
        DataError: The table cannot be read, has another number of texts a row than the model
            takes, or has labels that the model does not know.
    """
    classifier = TextClassifier.load(model, answering, revision=revision)
    trained = StatedColumns(classifier.text_columns, classifier.label_column)
    names = (*options.column_names, *trained.text, *possible_names(trained.label))
    table = load_table(data, options.table_format, names)
    columns = _columns(table, options, trained)
    examples = read_examples(table, columns, options, classifier.labels, classifier.task)
    evaluation = evaluate_logits(
        classifier.task,
        classifier.labels,
        examples.targets,
        classifier.logits(examples.texts, examples.pairs),
        given=classifier.rule.given,
    )
    notes = examples.notes
    if cut := classifier.texts_cut:
        said = f"{cut} texts were longer than {classifier.max_length} tokens and lost the rest."
        notes = (*notes, said)
    return Assessment(evaluation, notes, examples.skipped)


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
