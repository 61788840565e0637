"""Label images with words of your choice, and teach what words cannot say."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from footwork.evaluation.own_metric import Metric as Metric
    from footwork.evaluation.result import Assessment as Assessment
    from footwork.fewshot.knowledge import Thresholds
    from footwork.finetuning.advise import Advice as Advice
    from footwork.finetuning.comparison import Comparison as Comparison
    from footwork.finetuning.comparison_plan import CompareOptions as CompareOptions
    from footwork.options import EncoderConfig
    from zeroshot.assessment import evaluate as evaluate
    from zeroshot.classifier import ZeroShotClassifier
    from zeroshot.evaluation import ImageEvaluation
    from zeroshot.finetuned import FinetunedClassifier
    from zeroshot.options import (
        EvaluateOptions,
        FinetuneConfig,
        FinetunedOptions,
        TeachOptions,
        ZeroShotOptions,
    )
    from zeroshot.rows import ImageAnswers, LabelledImage
    from zeroshot.task import FinetunedRun, finetune
    from zeroshot.task import advise as advise
    from zeroshot.task import compare as compare
    from zeroshot.task import merge as merge
    from zeroshot.taught import TaughtClassifier, TaughtImage, TaughtRun, teach

# Also the names below that are not here: among those of `footwork` they are texts'.
__all__ = [
    "EncoderConfig",
    "EvaluateOptions",
    "FinetuneConfig",
    "FinetunedClassifier",
    "FinetunedOptions",
    "FinetunedRun",
    "ImageAnswers",
    "ImageEvaluation",
    "LabelledImage",
    "TaughtClassifier",
    "TaughtImage",
    "TaughtRun",
    "TeachOptions",
    "Thresholds",
    "ZeroShotClassifier",
    "ZeroShotOptions",
    "finetune",
    "teach",
]

_HOMES = {
    "Advice": "footwork.finetuning.advise",
    "Assessment": "footwork.evaluation.result",
    "CompareOptions": "footwork.finetuning.comparison_plan",
    "Comparison": "footwork.finetuning.comparison",
    "EncoderConfig": "footwork.options",
    "EvaluateOptions": "zeroshot.options",
    "FinetuneConfig": "zeroshot.options",
    "FinetunedClassifier": "zeroshot.finetuned",
    "FinetunedOptions": "zeroshot.options",
    "FinetunedRun": "zeroshot.task",
    "ImageAnswers": "zeroshot.rows",
    "ImageEvaluation": "zeroshot.evaluation",
    "LabelledImage": "zeroshot.rows",
    "Metric": "footwork.evaluation.own_metric",
    "TaughtClassifier": "zeroshot.taught",
    "TaughtImage": "zeroshot.taught",
    "TaughtRun": "zeroshot.taught",
    "TeachOptions": "zeroshot.options",
    "Thresholds": "footwork.fewshot.knowledge",
    "ZeroShotClassifier": "zeroshot.classifier",
    "ZeroShotOptions": "zeroshot.options",
    "advise": "zeroshot.task",
    "compare": "zeroshot.task",
    "evaluate": "zeroshot.assessment",
    "finetune": "zeroshot.task",
    "merge": "zeroshot.task",
    "teach": "zeroshot.taught",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `import zeroshot` stays free."""
    from importlib import import_module

    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
