"""Every setting of a fine-tuning run of images, and how what it published is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.evaluation.metrics import METRICS
from footwork.finetuning.config import FinetuningConfig
from footwork.help_page import DATA, METHOD, MODEL
from footwork.methods.table import METHODS
from footwork.options import DECODINGS, Decode
from footwork.tables.labels import MULTI_LABEL, SINGLE_LABEL
from zeroshot.classifier import DEFAULT_MODEL

APPLICATION, KIND = "zeroshot", "finetuned"


def is_finetuned(manifest: Any) -> bool:
    """Whether a `footwork.json` is that of a fine-tuned image classifier."""
    return (
        isinstance(manifest, dict)
        and manifest.get("application") == APPLICATION
        and manifest.get("kind") == KIND
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(FinetuningConfig):
    """Everything that determines a fine-tuning run."""

    model_id: Annotated[str, Parameter(name=["--model", "--model-id"]), MODEL] = DEFAULT_MODEL
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`: any image classifier
    or two-tower model of transformers."""
    features_from: Annotated[int | None, METHOD] = None
    """Read the features after so many layers (of a ResNet or ConvNeXt: stages) from below, for
    images far from what the model knows; if not given, after all."""
    validation_share: Annotated[float, DATA] = 0.2
    """Share of the images held out to judge by, where the folder has no `validation` of its own."""
    augment: Annotated[bool, DATA] = True
    """Show each image mirrored or cropped at random; off where left and right tell the classes
    apart. What computes features once never does."""
    task: Annotated[Literal["single", "multi"] | None, DATA] = None
    """multi: an image may have several labels, or none, as a table says of it; if not given, what
    the labels are."""
    label_column: Annotated[str | None, DATA] = None
    """Column of a table that holds the labels; several of 0 and 1, one a label, are named with
    commas between them."""
    label_separator: Annotated[str | None, DATA] = None
    """What divides the labels of one cell; found out if not given."""
    decode: Annotated[Decode, DATA] = "draft"
    """draft: a large JPEG at a fraction that leaves twice the pixels that the model needs, or more,
    which takes a fraction of the time; exact: every pixel, as other programs decode it. What is
    published decodes alike."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        FinetuningConfig.__post_init__(self)
        if not 0 < self.validation_share < 1:
            message = f"`validation_share` must be between 0 and 1, got {self.validation_share}."
            raise ConfigError(message)
        if self.features_from is not None and self.features_from < 1:
            raise ConfigError(f"`features_from` must be at least 1, got {self.features_from}.")
        if self.decode not in DECODINGS:
            message = f"`decode` must be one of {', '.join(DECODINGS)}, got {self.decode!r}."
            raise ConfigError(message)
        if self.task not in (None, "single", "multi"):
            raise ConfigError(f"`task` must be single or multi, got {self.task!r}.")
        metrics = dict.fromkeys((*METRICS[SINGLE_LABEL], *METRICS[MULTI_LABEL]))
        if self.best_metric is not None and self.best_metric not in metrics:
            message = (
                f"`best_metric` must be one of {', '.join(metrics)}, got {self.best_metric!r}."
            )
            raise ConfigError(message)

    @property
    def augments(self) -> bool:
        """Whether each step sees its pictures changed at random."""
        return self.augment and not METHODS[self.method].features_once
