"""Label images with words of your choice, and teach what words cannot say."""

from __future__ import annotations

from footwork import names_of

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from footwork.comparison.plan import CompareOptions as CompareOptions
    from footwork.comparison.result import Comparison as Comparison
    from footwork.evaluation.own_metric import Metric as Metric
    from footwork.evaluation.result import Assessment as Assessment
    from footwork.fewshot.knowledge import Thresholds
    from footwork.finetuning.advise import Advice as Advice
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

if not TYPE_CHECKING:  # to which every name would be one
    __getattr__, __dir__ = names_of(__name__, __file__)
