"""Fine-tune and use text classifiers."""

from __future__ import annotations

from footwork import names_of

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from footwork.comparison.plan import CompareOptions
    from footwork.comparison.result import Comparison
    from footwork.evaluation.decision import Prediction, Predictions
    from footwork.evaluation.own_metric import Metric
    from footwork.evaluation.result import Assessment, Evaluation
    from footwork.finetuning.advise import Advice
    from footwork.tables.layout import TableFormat
    from textclf.assessment import evaluate
    from textclf.audit.audit import Audit, audit_table
    from textclf.classifier import ClassifierOptions, TextClassifier
    from textclf.config import LabelOptions, TextOptions, TrainConfig
    from textclf.predict import predict_rows
    from textclf.task import TrainedRun, advise, compare, merge, train

__all__ = [
    "Advice",
    "Assessment",
    "Audit",
    "ClassifierOptions",
    "CompareOptions",
    "Comparison",
    "Evaluation",
    "LabelOptions",
    "Metric",
    "Prediction",
    "Predictions",
    "TableFormat",
    "TextClassifier",
    "TextOptions",
    "TrainConfig",
    "TrainedRun",
    "advise",
    "audit_table",
    "compare",
    "evaluate",
    "merge",
    "predict_rows",
    "train",
]

if not TYPE_CHECKING:  # to which every name would be one
    __getattr__, __dir__ = names_of(__name__, __file__)
