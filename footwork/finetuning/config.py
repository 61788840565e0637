"""What every fine-tuning can be told, whatever it reads, and what it is where that is left open."""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from footwork.errors import ConfigError
from footwork.evaluation.metrics import METRICS, PRIMARY_METRIC
from footwork.help_page import MODEL, RATE
from footwork.methods.table import Recipe
from footwork.options import LoopConfig, PublishConfig
from footwork.tables.labels import REGRESSION


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig(PublishConfig, LoopConfig):
    """How a pretrained model is fine-tuned and published."""

    model_id: Annotated[str, MODEL] = "tiny"
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`."""
    revision: Annotated[str | None, MODEL] = None
    """Branch, tag or commit of the model on the Hub."""
    class_weights: Annotated[Literal["none", "balanced"], RATE] = "none"
    """balanced: every class counts the same, however many rows it has."""
    label_smoothing: Annotated[float, RATE] = 0.0
    """Probability taken from the true class and spread evenly, 0 to 1."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        PublishConfig.__post_init__(self)
        LoopConfig.__post_init__(self)
        if not 0 <= self.label_smoothing < 1:
            message = f"`label_smoothing` must be from 0 up to 1, got {self.label_smoothing}."
            raise ConfigError(message)

    def settled(
        self, task: str, recipe: Recipe, length: str, others: Mapping[str, Any]
    ) -> tuple[Self, str]:
        """Fill in what was left open, and say in one sentence where the values come from.

        Args:
            task: A `problem_type` of transformers.
            recipe: For the method, the size of the encoder and the rows.
            length: What an epoch is, "90 rows" for one.
            others: What was found out of further settings.

        Raises:
            ConfigError: A setting means nothing for the task.
        """
        if self.best_metric is not None and self.best_metric not in METRICS[task]:
            raise ConfigError(
                f"`best_metric` must be one of {', '.join(METRICS[task])} here, "
                f"got {self.best_metric!r}."
            )
        if task == REGRESSION and (self.class_weights != "none" or self.label_smoothing):
            raise ConfigError(
                "`class_weights` and `label_smoothing` are about classes; a regression has none."
            )
        rate = self.learning_rate or recipe.learning_rate
        epochs = self.num_epochs or recipe.num_epochs
        metric = self.best_metric or PRIMARY_METRIC[task]
        unit = "epoch" if epochs == 1 else "epochs"
        lasts = f"{self.max_steps} steps" if self.max_steps else f"{epochs:g} {unit} of {length}"
        said = f"{self.method}: rate {rate:g}, {lasts} ({recipe.source})"
        if self.early_stopping:
            said += f"; fewer if {self.early_stopping} evaluations bring nothing better"
        values = {"learning_rate": rate, "num_epochs": epochs, "best_metric": metric, **others}
        return replace(self, **values), said
