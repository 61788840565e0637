"""What every fine-tuning can be told, whatever it reads, and what it is where that is left open."""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, Self

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.evaluation.metrics import METRICS, PRIMARY_METRIC
from footwork.evaluation.own_metric import Metric, qualified_name
from footwork.files.faults import counted
from footwork.help_page import DATA, MODEL, RATE
from footwork.methods.rates import Recipe
from footwork.methods.table import AdaptationConfig, method_of, methods_where
from footwork.options import LoopConfig, PublishConfig
from footwork.settings import Settings
from footwork.tables.labels import REGRESSION

_OF_STEPS = ("learning_rate", "num_epochs", "max_steps")
_OF_A_MODEL = {each.name for group in (AdaptationConfig, LoopConfig) for each in fields(group)}
_OF_A_MODEL -= {"method", "seed", "device"}  # where all that computes does so
_OF_A_MODEL |= {"model_id", "revision", "max_length", "label_smoothing", "merge", "loss", "metric"}
"""Settings of a pretrained model, and of a training in steps."""
_OF_PYTHON = Parameter(parse=False)  # no command line can state it
Loss = Callable[[Any, Any], Any]
GIVEN = "given"
"""Where the value of a setting comes from that the user has chosen."""


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig(PublishConfig, LoopConfig):
    """How a pretrained model is fine-tuned and published."""

    model_id: Annotated[str, MODEL] = "tiny"
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`."""
    revision: Annotated[str | None, MODEL] = None
    """Branch, tag or commit of the model on the Hub."""
    continue_adapter: Annotated[bool, Parameter(name="--continue", negative=""), MODEL] = False
    """Train the adapter of a published model on, by its own method and on the same labels; if not
    given, it is merged into its base and a new training begins on that."""
    target: Annotated[str | None, DATA] = None
    """Rows without labels of another domain, on which the model is to be used: a table of texts, a
    folder of images. Features are learned by which the two domains cannot be told apart (DANN), and
    what that is worth is measured. Labels that the rows have are never learned from; they judge."""
    class_weights: Annotated[Literal["none", "balanced"], RATE] = "none"
    """balanced: every class counts the same, however many rows it has."""
    label_smoothing: Annotated[float, RATE] = 0.0
    """Probability taken from the true class and spread evenly, from 0 up to 1."""
    loss: Annotated[Loss | None, _OF_PYTHON] = None
    """A function in place of the task's own loss: of logits (N, C) and targets, class numbers (N,)
    or (N, C) of 0 and 1, to one loss a row, (N,), tensors all. Of a regression both are amounts
    less their mean, divided by their spread, (N, 1) and (N,)."""
    metric: Annotated[Metric | None, _OF_PYTHON] = None
    """One of your own, measured beside the usual ones; `best_metric` may name it."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            message = f"`label_smoothing` must be from 0 up to 1, got {self.label_smoothing}."
            raise ConfigError(message)
        if self.loss is not None and (self.class_weights != "none" or self.label_smoothing):
            raise ConfigError("`class_weights` and `label_smoothing` are of the usual loss alone.")
        if self.target is not None and (self.method_row.solves or not self.method_row.rates):
            raise ConfigError(
                f"`target` is learned from in steps, with encoder and head, and --method "
                f"{self.method} trains no head in steps; got {self.target}. Use --method "
                f"{methods_where(lambda each: bool(each.rates) and not each.solves)}, or leave it "
                "out."
            )
        if self.method_row.has_model:
            return
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _OF_A_MODEL and value != field.default:
                name = "--model" if field.name == "model_id" else field.name
                raise ConfigError(
                    f"`{name}` means nothing to --method {self.method}, which takes no pretrained "
                    f"model and is fitted at once, not in steps; got {value}. Leave it out."
                )

    @property
    def greater_is_better(self) -> bool:
        """Of `best_metric`."""
        if self.metric is not None and self.best_metric == self.metric.name:
            return self.metric.greater_is_better
        return super().greater_is_better

    def metrics_of(self, task: str) -> tuple[str, ...]:
        """What a checkpoint may be chosen by, `task` being a `problem_type` of transformers."""
        return (*METRICS[task], *([self.metric.name] if self.metric else ()))

    def for_method(self, name: str) -> Self:
        """With another method, and without what means nothing to that one."""
        method = method_of(name)
        foreign = {each for each in self.stated_settings if each not in method.settings}
        foreign |= set() if method.has_model else _OF_A_MODEL
        usual: dict[str, Any] = {
            each.name: each.default for each in fields(self) if each.name in foreign
        }
        return replace(self, method=name, **usual)

    def told(self) -> dict[str, Any]:
        """Every setting that means something to the method, by name; functions by theirs."""
        idle = self.foreign_settings | (set() if self.method_row.has_model else _OF_A_MODEL)
        told: dict[str, Any] = {}
        for name in (each.name for each in fields(self) if each.name not in idle):
            value = getattr(self, name)
            if isinstance(value, Metric):
                told[name] = str(value)
            elif callable(value):
                told[name] = qualified_name(value)
            else:
                told[name] = dict(vars(value)) if isinstance(value, Settings) else value
        return told

    def chosen(
        self, rows: int, encoder_parameters: int, *, contrasts: bool
    ) -> tuple[Self, tuple[str, ...]]:
        """As of any adaptation; what a target or a loss of one's own asks for is done in steps."""
        contrasts &= self.target is None and self.loss is None
        return super().chosen(rows, encoder_parameters, contrasts=contrasts)

    def settled(
        self, task: str, recipe: Recipe | None, length: str, others: Mapping[str, Any]
    ) -> tuple[Self, dict[str, str], str | None]:
        """Fill in what was left open.

        Args:
            task: A `problem_type` of transformers.
            recipe: For the method, the size of the encoder and the rows; None takes no steps.
            length: What an epoch is, "90 rows" for one.
            others: What was found out of further settings.

        Returns:
            The settled configuration; of each setting that is no default where its value comes
            from, `GIVEN` for the user; and a sentence on rate and length, if there are such.

        Raises:
            ConfigError: A setting means nothing for the task.
        """
        allowed = self.metrics_of(task)
        if self.best_metric is not None and self.best_metric not in allowed:
            raise ConfigError(
                f"`best_metric` must be one of {', '.join(allowed)} here, got {self.best_metric!r}."
            )
        if task == REGRESSION and (self.class_weights != "none" or self.label_smoothing):
            raise ConfigError(
                "`class_weights` and `label_smoothing` are about classes; a regression has none."
            )
        values: dict[str, Any] = dict(others)
        found = {}
        if recipe is None:
            values |= dict.fromkeys(_OF_STEPS)
        else:
            values["learning_rate"] = self.learning_rate or recipe.learning_rate
            values["num_epochs"] = self.num_epochs or recipe.num_epochs
            values.setdefault("best_metric", self.best_metric or PRIMARY_METRIC[task])
            found = {
                "learning_rate": recipe.source,
                "num_epochs": recipe.epochs_source or recipe.source,
                "best_metric": "the labels",
                "early_stopping": "too few validation rows",
            }
        settled = replace(self, **values)
        sources = {}
        for field in fields(self):
            value, name = getattr(settled, field.name), field.name
            if value != getattr(self, name):
                sources[name] = found.get(name, "the model and this machine")
            elif value != field.default:
                sources[name] = GIVEN
        return settled, sources, self._plan_in_words(settled, sources, length)

    def _plan_in_words(self, settled: Self, sources: dict[str, str], length: str) -> str | None:
        """Rate and length, and where they come from."""
        if not self.method_row.has_model:
            return None
        if self.method_row.features_once:
            stated = [name for name in _OF_STEPS if getattr(self, name) is not None]
            verb = "mean" if len(stated) > 1 else "means"
            idle = f"; {' and '.join(stated)} {verb} nothing to it" if stated else ""
            return f"{self.method}: solved to its optimum on features of {length}{idle}"
        epochs = settled.num_epochs or 0.0
        lasts = f"{epochs:g} {'epoch' if epochs == 1 else 'epochs'} of {length}"
        if self.max_steps:
            lasts = counted(self.max_steps, "step")
            sources["num_epochs"] = "not used: max_steps counts"
        of_rate = sources["learning_rate"]
        of_length = sources["max_steps" if self.max_steps else "num_epochs"]
        told = "" if of_rate == of_length else f" ({of_rate})"
        patience = 0 if self.target else settled.early_stopping  # of a target the last step counts
        fewer = f"; fewer if {patience} evaluations bring nothing better" if patience else ""
        rate = f"rate {settled.learning_rate:g}{told}"
        return f"{self.method}: {rate}, {lasts} ({of_length}){fewer}"
