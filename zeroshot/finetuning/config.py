"""Every setting of a fine-tuning run: the data's, the method's, the loop's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal  # noqa: F401 - inherited annotations are evaluated here

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.help_page import DATA, METHOD, MODEL, RATE
from footwork.methods.table import METHODS, recipe_for
from footwork.options import LoopConfig, PublishConfig
from zeroshot.classifier import DEFAULT_MODEL

METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "loss")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(PublishConfig, LoopConfig):
    """Everything that determines a fine-tuning run."""

    model_id: Annotated[str, Parameter(name=["--model", "--model-id"]), MODEL] = DEFAULT_MODEL
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`: any image classifier
    or two-tower model of transformers."""
    revision: Annotated[str | None, MODEL] = None
    """Branch, tag or commit of the model on the Hub."""
    features_from: Annotated[int | None, METHOD] = None
    """Read the features after so many layers (of a ResNet or ConvNeXt: stages) from below, for
    images far from what the model knows; if not given, after all."""
    validation_share: Annotated[float, DATA] = 0.2
    """Share of the images held out to judge by, where the folder has no `validation` of its own."""
    augment: Annotated[bool, DATA] = True
    """Show each image mirrored or cropped at random; off where left and right tell the classes
    apart. What computes features once never does."""
    label_smoothing: Annotated[float, RATE] = 0.0
    """Probability taken from the true class and spread evenly, 0 to 1."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        PublishConfig.__post_init__(self)
        LoopConfig.__post_init__(self)
        if not 0 < self.validation_share < 1:
            message = f"`validation_share` must be between 0 and 1, got {self.validation_share}."
            raise ConfigError(message)
        if not 0 <= self.label_smoothing < 1:
            message = f"`label_smoothing` must be from 0 up to 1, got {self.label_smoothing}."
            raise ConfigError(message)
        if self.features_from is not None and self.features_from < 1:
            raise ConfigError(f"`features_from` must be at least 1, got {self.features_from}.")
        if self.best_metric is not None and self.best_metric not in METRICS:
            message = (
                f"`best_metric` must be one of {', '.join(METRICS)}, got {self.best_metric!r}."
            )
            raise ConfigError(message)

    @property
    def augments(self) -> bool:
        """Whether each step sees its pictures changed at random."""
        return self.augment and not METHODS[self.method].features_once

    def resolved(self, encoder_parameters: int, rows: int) -> tuple[FinetuneConfig, str]:
        """Fill in what was left open.

        Args:
            encoder_parameters: Of the image tower.
            rows: Training images.

        Returns:
            The configuration without open rates, and one sentence on where its values come from.
        """
        rates = METHODS[self.method].rates["image"]
        recipe = recipe_for(rates, encoder_parameters, rows, self.batch_size)
        filled: dict[str, Any] = {
            "num_epochs": self.num_epochs or recipe.num_epochs,
            "learning_rate": self.learning_rate or recipe.learning_rate,
            "best_metric": self.best_metric or "accuracy",
        }
        length = (
            f"{self.max_steps} steps"
            if self.max_steps
            else f"{filled['num_epochs']:g} epochs of {rows} images"
        )
        said = f"{self.method}: rate {filled['learning_rate']:g}, {length} ({recipe.source})"
        return replace(self, **filled), said

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON takes it."""
        return asdict(self)
