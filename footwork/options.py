"""Settings that several commands share, each with its type, default, help and check.

Annotations are evaluated here: cyclopts would evaluate inherited ones in the module of the heir.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from cyclopts import Parameter

from footwork.class_names import read_class_names
from footwork.errors import ConfigError, require_at_least
from footwork.help_page import DATA, METHOD, MODEL, OUTPUT, RATE, SPEED
from footwork.methods.table import AdaptationConfig
from footwork.settings import Settings

DEFAULT_IMAGE_MODEL = "openai/clip-vit-base-patch32"
Precision = Literal["auto", "bf16", "float32"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Decode = Literal["draft", "exact"]
EXACT_MARK = "-exact"
"""How the fingerprint of an encoder ends that decodes every pixel."""


def decoding_of(fingerprint: str) -> Decode:
    """How images were decoded for the embeddings that a fingerprint names."""
    return "exact" if fingerprint.endswith(EXACT_MARK) else "draft"


Flat = Parameter(name="*")
"""A dataclass of settings, each of which is an option of the command."""
Flag = Annotated[bool, Parameter(negative="")]
"""An option that is on where it is given."""


def _file(_kind: Any, tokens: Sequence[Any]) -> Path | None:
    return None if tokens[0].value == "-" else Path(tokens[0].value)


Output = Annotated[
    Path | None,
    Parameter(name=["--out", "-o"], converter=_file, n_tokens=1, allow_leading_hyphen=True),
]
"""A file to write; without it, or by `-`, standard output."""
_CONFIG_HELP = "TOML file of settings; the command line and the environment win."
ConfigFile = Annotated[Path | None, Parameter(name="--config", help=_CONFIG_HELP)]
"""What `config_from_file` reads, before the settings are built: a command takes it as `_config`."""


def _divided(kind: Any, tokens: Sequence[Any]) -> tuple[Any, ...]:
    """Values with commas between."""
    words = (word.strip() for token in tokens for word in token.value.split(","))
    [one, *_] = get_args(kind)
    return tuple(one(word) if one in (int, float) else word for word in words if word)


SEVERAL = Parameter(converter=_divided, n_tokens=1, negative="")
"""An option that takes several values, with commas between."""


def _at_commas(_kind: Any, value: str, **_: Any) -> list[str]:
    return [word.strip() for word in value.split(",")]


COLUMNS = Parameter(negative="", env_var_split=_at_commas)
"""Names of columns, which may hold spaces: in the environment with commas between."""
Device = Annotated[str | None, SPEED]
_DEVICE = re.compile(r"(cpu|mps|(cuda|xpu)(:\d+)?)")


def require_device(name: str | None) -> None:
    """Refuse what is no name of a device, by a `ConfigError`; whether it is there, torch knows."""
    if name is not None and not (isinstance(name, str) and _DEVICE.fullmatch(name)):
        raise ConfigError(f"`device` must be cpu, cuda, cuda:1, mps or the like, got {name!r}.")


@DATA
@dataclass(frozen=True, kw_only=True)
class LabelSettings(Settings):
    """How the labels of a table are read; None is found out."""

    label_column: Annotated[tuple[str, ...] | str | None, COLUMNS] = None
    """Column of the labels; for columns of 0 and 1 all of them, with commas between; if not given,
    it is found out."""
    label_separator: str | None = None
    """What divides several labels in a cell; if not given, it is found out."""
    labels: str | None = None
    """Names of the classes, separated by commas, where each row has a vector of 0 and 1; one that
    holds a comma stands in double quotes."""
    labels_file: str | None = None
    """The same from a file, one name a line; one that begins with # is a comment, one with \\# a
    name that does."""

    def __post_init__(self) -> None:
        """A `ConfigError` where a value is out of range."""
        super().__post_init__()
        if self.label_separator == "":
            raise ConfigError(
                "`label_separator` must be what divides several labels, such as ; or |, got an "
                "empty text. Leave it out where a cell has one label."
            )

    def class_names(self) -> tuple[str, ...]:
        """Those that are stated, in the order of the vectors; none if none are."""
        if self.labels is None and self.labels_file is None:
            return ()
        return read_class_names(self.labels, Path(self.labels_file) if self.labels_file else None)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Settings):
    """How an image model is run; but for `decode` nothing changes an answer beyond rounding."""

    precision: Annotated[Precision, SPEED] = "auto"
    """Dtype of the image tower; auto: bf16 or float16 where the hardware multiplies it; of a
    fine-tuned model bf16 where its error was measured when it was published, and close calls again
    in float32. The text tower always computes in float32."""
    batch_size: Annotated[int | None, SPEED] = None
    """Images at once; if not given, 16 a thread on a CPU, 64 on an accelerator."""
    workers: Annotated[int | None, SPEED] = None
    """Threads that decode, and on a CPU compute; if not given, one a core."""
    decode: Annotated[Decode | None, MODEL] = None
    """draft: a large JPEG at a fraction that leaves twice the pixels that the model needs, or more,
    which takes a fraction of the time; exact: every pixel, as other programs decode it. If not
    given, as what is used was made, and else draft."""
    device: Device = None
    """cpu, cuda, cuda:1, mps; if not given, the accelerator where there is one."""

    def __post_init__(self) -> None:
        """A `ConfigError` where a value is out of range."""
        super().__post_init__()
        require_device(self.device)
        require_at_least(1, self, "batch_size", "workers")

    def decoding_as(self, made: Decode, what: str) -> Self:
        """With the decoding that something was made with, or a `ConfigError`.

        `what` was made so begins a sentence.
        """
        if self.decode not in (None, made):
            raise ConfigError(
                f"{what} was made with `--decode {made}`, but --decode {self.decode} is asked "
                "for: vectors of the two are never mixed. Leave it out, or make it anew."
            )
        return replace(self, decode=made)


@dataclass(frozen=True, kw_only=True)
class PublishConfig(AdaptationConfig):
    """How a pretrained model is adapted, and what is made of the result."""

    merge: Annotated[bool, METHOD] = False
    """Publish a plain folder instead of an adapter: as large as the base, and loaded by
    whatever loads that."""
    push_to_hub: Annotated[str | None, OUTPUT] = None
    """Hub repository (owner/name) to upload the finished folder to: a new one is public, one that
    you have made private stays so. Whether you may write there is asked before the training."""
    skip: Annotated[tuple[Literal["baselines", "proof", "report"], ...], SEVERAL, OUTPUT] = ()
    """For runs of which many are made, with commas between: baselines (what is to be beaten), proof
    (a fresh process that must answer as the trained model; by it bf16 is known to be safe), report
    (pictures)."""

    def __post_init__(self) -> None:
        """A `ConfigError` where a value is out of range."""
        super().__post_init__()
        adapter = self.method_row.adapter
        if self.merge and adapter is not None and not adapter.merges:
            raise ConfigError(
                f"`merge` is impossible with --method {self.method}: its adapter changes no weight "
                "of the base, so it cannot be added into one. Leave it out."
            )

    @property
    def publishes_adapter(self) -> bool:
        """Whether the folder needs its base."""
        return self.method_row.adapter is not None and not self.merge

    @property
    def merge_note(self) -> str | None:
        """What to say of `merge` where there is no adapter, one sentence."""
        if not self.merge or self.method_row.adapter is not None:
            return None
        return f"--merge has no adapter to merge: {self.method} gives a plain folder."


Logger = Literal[
    "clearml",
    "codecarbon",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
]
Schedule = Literal["linear", "cosine", "constant_with_warmup"]
_SEEDS = 2**32  # of numpy
EVALUATIONS = 15
"""Of a run, at most: each takes a pass over the validation rows, and writes a checkpoint."""
LOWER_IS_BETTER = frozenset({"loss", "log_loss", "mae", "rmse"})


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Settings):
    """How the training loop runs; None is settled by the recipe."""

    num_epochs: Annotated[float | None, RATE] = None
    """Passes over the training rows; if not given, what suits the method and the model's size."""
    max_steps: Annotated[int | None, RATE] = None
    """Optimizer steps, instead of epochs."""
    batch_size: Annotated[int, RATE] = 32
    """Rows per optimizer step, over all processes and micro-batches."""
    gradient_accumulation_steps: Annotated[int, SPEED] = 1
    """Micro-batches a step is computed in: less memory, the same result."""
    learning_rate: Annotated[float | None, RATE] = None
    """Peak rate; if not given, what suits the method and the model's size."""
    schedule: Annotated[Schedule, RATE] = "linear"
    """How the rate falls after warm-up."""
    warmup: Annotated[float, RATE] = 0.1
    """Share of the steps in which the rate rises from 0 to its peak."""
    weight_decay: Annotated[float, RATE] = 0.01
    """Decoupled weight decay, without biases and norms."""
    max_grad_norm: Annotated[float, RATE] = 1.0
    """Gradients longer than this are scaled down to it."""
    early_stopping: Annotated[int, RATE] = 5
    """Evaluations without a better one after which training stops; with 0 it never does. There is
    one an epoch, and in a long training one in several: 15 at most. With fewer than 50 validation
    rows nothing is chosen by them."""
    best_metric: Annotated[str | None, RATE] = None
    """Validation metric that chooses the checkpoint; if not given, accuracy, or macro_f1 where a
    class is rare; of several labels mean_average_precision; of amounts mae."""
    mixed_precision: Annotated[Precision, SPEED] = "auto"
    """Dtype of matrix products; auto: bf16 where the hardware has it."""
    device: Device = None
    """cpu, cuda, cuda:1, mps; if not given, the accelerator where there is one."""
    activation_checkpointing: Annotated[bool, SPEED] = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    save_minutes: Annotated[float, OUTPUT] = 10.0
    """Minutes between checkpoints within an epoch; one is written at every evaluation anyway."""
    log_to: Annotated[tuple[Logger, ...], SEVERAL, OUTPUT] = ()
    """Where the curves of the training go as well, with commas between: tensorboard, trackio,
    wandb, mlflow and others that transformers knows. The run is called as OUT; tensorboard and
    wandb write into OUT.logs, the others where they always do."""
    seed: Annotated[int, RATE] = 0
    """Of the head, the order, the dropout masks and the split."""

    def __post_init__(self) -> None:
        """A `ConfigError` where a value is out of range."""
        super().__post_init__()
        require_at_least(1, self, "batch_size", "gradient_accumulation_steps", "max_steps")
        for name in ("num_epochs", "learning_rate", "max_grad_norm", "save_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"`{name}` must be above 0, got {value}.")
        require_at_least(0, self, "weight_decay", "seed", "early_stopping")
        if self.seed >= _SEEDS:
            raise ConfigError(f"`seed` must be below {_SEEDS:,}, got {self.seed}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(
                f"`warmup` is a share of the steps, from 0 up to 1, got {self.warmup}."
            )
        require_device(self.device)
        for name in self.log_to:
            if find_spec(name) is None:
                raise ConfigError(
                    f"`log_to` {name} needs a package that is not installed: pip install "
                    f"{name.replace('_', '-')}"
                )

    @property
    def greater_is_better(self) -> bool:
        """Of `best_metric`."""
        return self.best_metric not in LOWER_IS_BETTER

    def epochs_over(self, rows: int) -> float:
        """Passes over so many rows, once the recipe's are filled in."""
        if self.max_steps is not None:
            return self.max_steps / math.ceil(rows / self.batch_size)
        self.require_settled()
        return self.num_epochs or 0.0

    def steps_over(self, rows: int) -> int:
        """Optimizer steps on so many rows, once the recipe's are filled in."""
        return self.max_steps or math.ceil(
            self.epochs_over(rows) * math.ceil(rows / self.batch_size)
        )

    def require_settled(self) -> None:
        """Refuse, by a ValueError, a configuration that leaves something open.

        Below the top nobody finds out what `auto` or None mean, each in its own way.
        """
        names = ("num_epochs", "learning_rate", "best_metric", "mixed_precision")
        left = [name for name in names if getattr(self, name) in (None, "auto")]
        if left:
            raise ValueError(f"`{'`, `'.join(left)}` must be settled before the training.")

    def require_divisible(self, processes: int) -> None:
        """Refuse what does not give every process as many rows of a step."""
        if self.batch_size % processes:
            raise ConfigError(
                f"`batch_size` must be a multiple of the {processes} processes, "
                f"got {self.batch_size}."
            )
