"""A trained classifier, judged on a table that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.tables.reader import SkippedRow
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.data.loading import load_examples
from textclf.data.options import LabelOptions
from textclf.evaluate import evaluate_logits
from textclf.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a table says of a classifier."""

    evaluation: Evaluation
    """Of the probabilities as the classifier gives them, its own temperature applied."""
    notes: tuple[str, ...]
    skipped: tuple[SkippedRow, ...]


def assess(
    model: Path | str, data: Path | str, options: LabelOptions, answering: ClassifierOptions
) -> Assessment:
    """Judge a trained folder on labelled texts.

    Args:
        model: A trained folder.
        data: Table, folder of tables, or Hub data set id.
        options: How the table is read; the columns default to those of the training.
        answering: How the classifier answers.

    Raises:
        ModelError: The folder cannot be loaded.
        DataError: The table cannot be read, or has labels that the model does not know.
    """
    classifier = TextClassifier.load(model, answering)
    examples = load_examples(str(data), options, classifier.labels, classifier.task)
    logits = classifier.logits(examples.texts, examples.pairs) / classifier.rule.temperature
    evaluation = evaluate_logits(classifier.task, classifier.labels, examples.targets, logits)
    cut = classifier.texts_cut
    notes = (f"{cut} texts were longer than {classifier.max_length} tokens and lost the rest.",)
    notes = (*examples.notes, *(notes if cut else ()))
    return Assessment(evaluation, notes, examples.skipped)
