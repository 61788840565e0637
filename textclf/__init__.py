"""Fine-tune and use text classifiers."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from footwork.finetuning.comparison import Comparison
    from footwork.finetuning.comparison_plan import CompareOptions
    from textclf.assessment import assess
    from textclf.audit.audit import audit_table
    from textclf.classifier import TextClassifier
    from textclf.config import TrainConfig
    from textclf.predict import predict_rows
    from textclf.task import TrainedRun, advise, compare, train

__all__ = [
    "CompareOptions",
    "Comparison",
    "TextClassifier",
    "TrainConfig",
    "TrainedRun",
    "advise",
    "assess",
    "audit_table",
    "compare",
    "predict_rows",
    "train",
]

_HOMES = {
    "advise": "textclf.task",
    "assess": "textclf.assessment",
    "audit_table": "textclf.audit.audit",
    "compare": "textclf.task",
    "CompareOptions": "footwork.finetuning.comparison_plan",
    "Comparison": "footwork.finetuning.comparison",
    "predict_rows": "textclf.predict",
    "TextClassifier": "textclf.classifier",
    "TrainConfig": "textclf.config",
    "TrainedRun": "textclf.task",
    "train": "textclf.task",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `import textclf` stays free."""
    from importlib import import_module

    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
