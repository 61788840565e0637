"""Label images with words of your choice, and teach what words cannot say."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from footwork.finetuning.comparison import Comparison as Comparison
    from footwork.finetuning.comparison_plan import CompareOptions as CompareOptions
    from zeroshot.classifier import LabelledImage, ZeroShotClassifier
    from zeroshot.finetuned import FinetunedClassifier
    from zeroshot.options import FinetuneConfig, TeachOptions, ZeroShotOptions
    from zeroshot.task import FinetunedRun, advise, finetune
    from zeroshot.task import compare as compare
    from zeroshot.teach import TaughtClassifier, TaughtRun, teach

# Also `compare`, `CompareOptions` and `Comparison`; among the names of `footwork` those are texts'.
__all__ = [
    "FinetuneConfig",
    "FinetunedClassifier",
    "FinetunedRun",
    "LabelledImage",
    "TaughtClassifier",
    "TaughtRun",
    "TeachOptions",
    "ZeroShotClassifier",
    "ZeroShotOptions",
    "advise",
    "finetune",
    "teach",
]

_HOMES = {
    "CompareOptions": "footwork.finetuning.comparison_plan",
    "Comparison": "footwork.finetuning.comparison",
    "FinetuneConfig": "zeroshot.options",
    "FinetunedClassifier": "zeroshot.finetuned",
    "FinetunedRun": "zeroshot.task",
    "LabelledImage": "zeroshot.classifier",
    "TaughtClassifier": "zeroshot.teach",
    "TaughtRun": "zeroshot.teach",
    "TeachOptions": "zeroshot.options",
    "ZeroShotClassifier": "zeroshot.classifier",
    "ZeroShotOptions": "zeroshot.options",
    "advise": "zeroshot.task",
    "compare": "zeroshot.task",
    "finetune": "zeroshot.task",
    "teach": "zeroshot.teach",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `import zeroshot` stays free."""
    from importlib import import_module

    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
