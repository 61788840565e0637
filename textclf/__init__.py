"""Fine-tune and use text classifiers."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from textclf.assessment import assess
    from textclf.audit.audit import audit_table
    from textclf.classifier import TextClassifier
    from textclf.config import TrainConfig
    from textclf.predict import predict_rows
    from textclf.task import TrainedRun, advise, train

__all__ = [
    "TextClassifier",
    "TrainConfig",
    "TrainedRun",
    "advise",
    "assess",
    "audit_table",
    "predict_rows",
    "train",
]

_HOMES = {
    "advise": "textclf.task",
    "assess": "textclf.assessment",
    "audit_table": "textclf.audit.audit",
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
