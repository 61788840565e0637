"""What the user may state: of a data set, where empty and None are found out; and of a run."""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.finetuning.config import FinetuningConfig
from footwork.help_page import DATA, MODEL, RATE
from footwork.options import COLUMNS, LabelSettings
from footwork.settings import Settings
from footwork.tables.columns import possible_names
from footwork.tables.labels import resolve_task
from footwork.tables.layout import DETECT, TableFormat


@DATA
@dataclass(frozen=True, kw_only=True)
class TextOptions(Settings):
    """How texts are read; empty and None are found out."""

    text_columns: Annotated[tuple[str, ...], Parameter(name="--text-column"), COLUMNS] = ()
    """Column of the texts; two for pairs, each with an option of its own; if not given, it is found
    out."""
    id_column: str | None = None
    """Column of the rows' own names; if not given, one called `id` or the like, or else the numbers
    of the rows."""
    table_format: Annotated[TableFormat, Parameter(name="*")] = DETECT
    """How the table is written down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.text_columns) > 2:
            raise ConfigError(
                f"`text_columns` must be one column, or two for pairs, got {self.text_columns}."
            )

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of all columns that are stated."""
        return tuple(filter(None, (*self.text_columns, self.id_column)))


@dataclass(frozen=True, kw_only=True)
class LabelOptions(LabelSettings, TextOptions):
    """How labelled texts are read."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of all columns that are stated."""
        labels = possible_names(self.label_column)
        return tuple(filter(None, (*self.text_columns, *labels, self.id_column)))


@dataclass(frozen=True, kw_only=True)
class DataOptions(LabelOptions):
    """How a data set is read and split."""

    task: str | None = None
    """single: one label a text; multi: any number; regression: a number. If not given, it is
    found out from the labels. The names of `problem_type` in transformers are understood."""
    validation_share: float = 0.1
    """Share of the training rows that is held out where there is no validation file."""
    seed: Annotated[int, RATE] = 0
    """Of the split, the head, the order and the dropout masks."""
    keep_going: Annotated[bool, Parameter(parse=False)] = False
    """Gather bad rows in `TextData.blocking` instead of raising; for the audit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.validation_share < 1:
            raise ConfigError(
                f"`validation_share` must be above 0 and below 1, got {self.validation_share}."
            )
        if self.task is not None:
            object.__setattr__(self, "task", resolve_task(self.task))


DEFAULT_MODEL = "microsoft/deberta-v3-base"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataOptions, FinetuningConfig):
    """Everything that determines a training run."""

    model_id: Annotated[str, Parameter(name=["--model", "--model-id"]), MODEL] = DEFAULT_MODEL
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`."""
    max_length: Annotated[int, MODEL] = 256
    """Longest input, in tokens; what is longer is cut, and the audit says how much."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 4:
            raise ConfigError(f"`max_length` must be at least 4 tokens, got {self.max_length}.")

    def within(self, positions: int | None) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The longest text where a model has fewer positions, and what is to be said of that."""
        room = self.max_length if positions is None else positions - self.tokens_before
        if self.max_length <= room:
            return {}, ()
        taken = f" less the {self.tokens_before} of the prompt" if self.tokens_before else ""
        cut = f"`max_length` is {room}, the positions of this model{taken}, not {self.max_length}."
        return {"max_length": room}, (cut,)
