"""Every setting of a training run, and what it is where the user leaves it open."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.evaluation.metrics import METRICS, PRIMARY_METRIC
from footwork.methods.table import METHODS, recipe_for
from footwork.options import LoopConfig, PublishConfig
from footwork.tables.format import TableFormat  # noqa: F401 - inherited annotations are evaluated here
from footwork.tables.labels import REGRESSION
from textclf.data.options import DataOptions

DEFAULT_MODEL = "microsoft/deberta-v3-base"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataOptions, PublishConfig, LoopConfig):
    """Everything that determines a training run."""

    model_id: Annotated[str, Parameter(name=["--model", "--model-id"])] = DEFAULT_MODEL
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`."""
    revision: str | None = None
    """Branch, tag or commit of the model on the Hub."""
    max_length: int = 256
    """Longest input, in tokens; what is longer is cut, and the audit says how much."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: every class counts the same, however many rows it has."""
    label_smoothing: float = 0.0
    """Probability taken from the true class and spread evenly, 0 to 1."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        DataOptions.__post_init__(self)
        PublishConfig.__post_init__(self)
        LoopConfig.__post_init__(self)
        if self.max_length < 4:
            raise ConfigError(f"`max_length` must be at least 4 tokens, got {self.max_length}.")
        if not 0 <= self.label_smoothing < 1:
            message = f"`label_smoothing` must be from 0 up to 1, got {self.label_smoothing}."
            raise ConfigError(message)

    def resolved(self, task: str, encoder_parameters: int, rows: int) -> tuple[TrainConfig, str]:
        """Fill in what was left open.

        Args:
            task: A `problem_type` of transformers.
            encoder_parameters: Without the embeddings.
            rows: Training rows.

        Raises:
            ConfigError: A setting means nothing for the task.

        Returns:
            The configuration without `None`, and one sentence on where its values come from.
        """
        self._require_sense(task)
        rates = METHODS[self.method].rates["text"]
        recipe = recipe_for(rates, encoder_parameters, rows, self.batch_size)
        filled: dict[str, Any] = {
            "num_epochs": self.num_epochs or recipe.num_epochs,
            "learning_rate": self.learning_rate or recipe.learning_rate,
            "best_metric": self.best_metric or PRIMARY_METRIC[task],
        }
        epochs = f"{filled['num_epochs']:g} epochs of {rows} rows"
        said = (
            f"{self.method}: rate {filled['learning_rate']:g}, "
            f"{f'{self.max_steps} steps' if self.max_steps else epochs} ({recipe.source})"
        )
        return replace(self, **filled), said

    def _require_sense(self, task: str) -> None:
        if self.best_metric is not None and self.best_metric not in METRICS[task]:
            raise ConfigError(
                f"`best_metric` must be one of {', '.join(METRICS[task])} here, "
                f"got {self.best_metric!r}."
            )
        if task == REGRESSION and (self.class_weights != "none" or self.label_smoothing):
            raise ConfigError(
                "`class_weights` and `label_smoothing` are about classes; a regression has none."
            )

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON takes it."""
        return asdict(self)
