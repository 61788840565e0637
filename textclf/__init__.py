"""Fine-tune and use text classifiers."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from footwork.evaluation.decision import Prediction, Predictions
    from footwork.evaluation.own_metric import Metric
    from footwork.evaluation.result import Assessment, Evaluation
    from footwork.finetuning.advise import Advice
    from footwork.finetuning.comparison import Comparison
    from footwork.finetuning.comparison_plan import CompareOptions
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

_HOMES = {
    "Advice": "footwork.finetuning.advise",
    "Assessment": "footwork.evaluation.result",
    "Audit": "textclf.audit.audit",
    "ClassifierOptions": "textclf.classifier",
    "CompareOptions": "footwork.finetuning.comparison_plan",
    "Comparison": "footwork.finetuning.comparison",
    "Evaluation": "footwork.evaluation.result",
    "LabelOptions": "textclf.config",
    "Metric": "footwork.evaluation.own_metric",
    "Prediction": "footwork.evaluation.decision",
    "Predictions": "footwork.evaluation.decision",
    "TableFormat": "footwork.tables.layout",
    "TextClassifier": "textclf.classifier",
    "TextOptions": "textclf.config",
    "TrainConfig": "textclf.config",
    "TrainedRun": "textclf.task",
    "advise": "textclf.task",
    "audit_table": "textclf.audit.audit",
    "compare": "textclf.task",
    "evaluate": "textclf.assessment",
    "merge": "textclf.task",
    "predict_rows": "textclf.predict",
    "train": "textclf.task",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `import textclf` stays free."""
    from importlib import import_module

    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
