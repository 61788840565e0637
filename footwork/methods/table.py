"""The methods by which a pretrained model is adapted: the one place that knows their names.

To add one: a class of `footwork.methods.adaptation.Adaptation` in a file here, and its row below.
Audit, rates, options, help, model cards, uploads and merging read the row.
"""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Literal, Self

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.help_page import METHOD

if TYPE_CHECKING:
    from footwork.methods.adaptation import Adaptation


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a setting becomes when the user leaves it open."""

    learning_rate: float
    """Peak rate of AdamW."""
    num_epochs: float
    """Passes over the training rows."""
    source: str
    """Of the rate, and of the epochs unless they have one of their own."""
    epochs_source: str | None = None


Rates = Sequence[tuple[float, Recipe]]
"""Upper bound of the encoder's size, in parameters without those of tokens → recipe, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What a method publishes that changes a base, and is nothing without it."""

    file: str
    """JSON by which such a folder is known, beside its weights, `adapter_model.safetensors`. It
    names the base under `base_model_name_or_path`, and the base's commit under `revision`."""
    library: str
    """Loads it, says the model card: `peft`, or `footwork` alone."""
    called: str
    """In the card's sentence, before the name of the base."""
    merges: bool = True
    """Whether it can be added into the weights of its base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """All that is known of a method without torch."""

    code: str | None
    """Its `Adaptation`, as `module:name`, imported when a model is adapted; None for a method that
    adapts none: the task fits a model of its own (`Task.fit`)."""
    trains: str
    """What trains, for --help and the README."""
    share: float
    """Of the model's parameters, what usually trains: gradients and moments take memory."""
    rates: Mapping[str, Rates]
    """By kind of input: `text` and `image`; empty where nothing is stepped at."""
    features_once: bool = False
    """Whether the encoder stays as it is: the head is solved on features that are computed once."""
    pretrained: bool = True
    """Whether it begins with the weights of the base, and not with its architecture alone."""
    adapter: Adapter | None = None
    """None publishes a plain folder, whole."""
    settings: tuple[str, ...] = ()
    """Fields of `AdaptationConfig` that mean nothing to the methods that do not name them."""

    @property
    def has_model(self) -> bool:
        """Whether it adapts a model of transformers."""
        return self.code is not None

    @property
    def adaptation(self) -> "Adaptation":
        """Its code."""
        if self.code is None:
            raise ValueError("This method adapts no model.")
        adaptation: Adaptation = resolve_name(self.code)
        return adaptation


_MEASURED = "measured on the embedded tiny model"
_LORA_RATES: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(2e-3, 8, _MEASURED)),
        (60e6, Recipe(8e-4, 6, "AdaLoRA, Zhang et al. 2023, appendix: 5e-4 to 2.2e-3")),
        (150e6, Recipe(5e-4, 5, "LoRA, Hu et al. 2021, appendix: 4e-4 to 5e-4 for RoBERTa-base")),
        (inf, Recipe(2e-4, 4, "LoRA, Hu et al. 2021, appendix: 1e-4 to 4e-4 for large models")),
    ),
    "image": (
        (5e6, Recipe(2e-3, 10, _MEASURED)),
        (inf, Recipe(2e-4, 10, "CLIP-LoRA, Zanella & Ben Ayed 2024: 2e-4")),
    ),
}
_FULL_RATES: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(5e-4, 5, _MEASURED)),
        (60e6, Recipe(4.5e-5, 4, "DeBERTa-v3-small and -xsmall model cards")),
        (150e6, Recipe(2e-5, 3, "DeBERTa-v3-base model card; Mosbach et al. 2021")),
        (inf, Recipe(8e-6, 3, "DeBERTaV3, He et al. 2021, appendix: 5e-6 to 1.2e-5 for large")),
    ),
    "image": (
        (5e6, Recipe(2e-4, 10, _MEASURED)),
        (150e6, Recipe(3e-5, 10, "WiSE-FT, Wortsman et al. 2021: 3e-5, 10 epochs for ViT-B CLIP")),
        (inf, Recipe(1e-5, 10, "WiSE-FT, Wortsman et al. 2021: 1e-5 for larger towers")),
    ),
}
_GRADUAL = "as full: {}; ULMFiT, Howard & Ruder 2018"
_GRADUAL_RATES: dict[str, Rates] = {
    kind: tuple((bound, replace(r, source=_GRADUAL.format(r.source))) for bound, r in rates)
    for kind, rates in _FULL_RATES.items()
}
_SCRATCH_RATES: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(5e-4, 30, "as full: measured on the embedded tiny model")),
        (inf, Recipe(1e-4, 30, "BERT, Devlin et al. 2018")),
    ),
    "image": ((inf, Recipe(1e-3, 30, "ViT, Steiner et al. 2021: 1e-3")),),
}

METHODS: dict[str, Method] = {
    "lora": Method(
        code="footwork.methods.peft:LORA",
        trains="low-rank adapters, a few MB",
        share=1 / 50,  # adapters of usual rank, and the head
        rates=_LORA_RATES,
        adapter=Adapter(file="adapter_config.json", library="peft", called="a LoRA adapter on"),
        settings=("lora_rank", "lora_alpha", "lora_dropout", "lora_variant"),
    ),
    "full": Method(
        code="footwork.methods.adaptation:FULL", trains="every weight", share=1, rates=_FULL_RATES
    ),
    "head": Method(
        code="footwork.methods.head:HEAD",
        trains="the head alone, solved to its optimum on features of the frozen encoder",
        share=1 / 50,
        rates={},
        features_once=True,
    ),
    "gradual": Method(
        code="footwork.methods.adaptation:GRADUAL",
        trains="the head, then one more layer from the top in each epoch",
        share=1,
        rates=_GRADUAL_RATES,
    ),
    "scratch": Method(
        code="footwork.methods.adaptation:SCRATCH",
        trains="every weight, from random ones: what the pretraining is worth",
        share=1,
        rates=_SCRATCH_RATES,
        pretrained=False,
    ),
    "linear": Method(
        code=None,
        trains="no pretrained model, but a linear one on TF-IDF; of texts alone",
        share=0,
        rates={},
    ),
}
AUTO, USUAL, OF_FEW, SOLVED, UNPRETRAINED = "auto", "lora", "full", "head", "linear"
FEW = 1000
"""Training rows, below which every weight is trained where nothing else is asked for. From 96
questions (TREC, MiniLM) `full` came to .83 to .87, `lora` to .69 to .70; from 2,000 both to .96."""

if TYPE_CHECKING:
    MethodName = str
else:
    _WORDS = "; ".join(f"{name}: {method.trains}" for name, method in METHODS.items())
    _AUTO = f"{AUTO}: {OF_FEW} below {FEW:,} training rows, else {USUAL}"
    MethodName = Annotated[Literal[(AUTO, *METHODS)], Parameter(help=f"{_AUTO}; {_WORDS}.")]


@dataclass(frozen=True, kw_only=True)
class AdaptationConfig:
    """How a pretrained model is adapted."""

    method: Annotated[MethodName, METHOD] = AUTO
    lora_rank: Annotated[int, METHOD] = 8
    """Rank of the adapters."""
    lora_alpha: Annotated[float | None, METHOD] = None
    """The adapters' output is scaled by alpha / rank; if not given, twice the rank."""
    lora_dropout: Annotated[float, METHOD] = 0.0
    """Dropout before the adapters."""
    lora_variant: Annotated[Literal["plain", "dora", "rslora", "pissa", "olora"], METHOD] = "plain"
    """dora: weight-decomposed; rslora: rank-stabilised; pissa, olora: started from the weights'
    principal directions."""
    layer_decay: Annotated[float, METHOD] = 1.0
    """Each layer below the top learns at this multiple of the rate of the one above; 1 is off."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range, or belongs to another method.
        """
        if self.method not in (AUTO, *METHODS):
            allowed = ", ".join((AUTO, *METHODS))
            message = f"`method` must be one of {allowed}, got {self.method!r}."
            raise ConfigError(message)
        if self.lora_rank < 1:
            raise ConfigError(f"`lora_rank` must be at least 1, got {self.lora_rank}.")
        if self.lora_alpha is not None and not self.lora_alpha > 0:
            raise ConfigError(f"`lora_alpha` must be above 0, got {self.lora_alpha}.")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"`lora_dropout` must be from 0 up to 1, got {self.lora_dropout}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"`layer_decay` must be above 0 and at most 1, got {self.layer_decay}."
            )
        for setting in self.stated_settings:
            owners = [name for name, method in METHODS.items() if setting in method.settings]
            if self.method not in (AUTO, *owners):
                raise ConfigError(
                    f"`{setting}` is a setting of --method {' or '.join(owners)}, not of "
                    f"{self.method}, got {getattr(self, setting)}. Leave it out."
                )

    @property
    def stated_settings(self) -> list[str]:
        """Those that belong to some methods alone, and are not as usual."""
        usual = type(self).__dataclass_fields__
        of_some = {each: None for method in METHODS.values() for each in method.settings}
        return [name for name in of_some if getattr(self, name) != usual[name].default]

    @property
    def way(self) -> Method:
        """The method; of `auto` the usual one, until it is `chosen`."""
        return METHODS[USUAL if self.method == AUTO else self.method]

    def chosen(self, rows: int) -> tuple[Self, tuple[str, ...]]:
        """With the method for so many training rows where it is left open, and why, a sentence."""
        if self.method != AUTO:
            return self, ()
        few = rows < FEW and not self.stated_settings
        why = f"fewer than {FEW:,} rows" if few else f"{FEW:,} rows or more"
        why = f"{', '.join(self.stated_settings)} given" if self.stated_settings else why
        name = OF_FEW if few else USUAL
        return replace(self, method=name), (f"Method: {name}, for {why} (--method decides).",)


def methods_where(fits: Callable[[Method], bool], *, has_model: bool = True) -> str:
    """Names of the methods that fit, as a sentence lists them: `lora, full or gradual`."""
    those = [name for name, method in METHODS.items() if method.has_model == has_model]
    *others, last = [name for name in those if fits(METHODS[name])]
    return f"{', '.join(others)} or {last}" if others else last


def adapter_in(folder: Path) -> tuple[Path, Method] | None:
    """The file by which a folder is an adapter, and a method that loads it; None if it is plain."""
    for method in METHODS.values():
        if method.adapter is not None and (folder / method.adapter.file).exists():
            return folder / method.adapter.file, method
    return None


GENTLE = 6e-5
"""Rate up to which a head that was solved on the frozen encoder stays near its optimum while all
weights train. At 5e-4 (TREC, `tiny`) its log loss was 2.0 after an epoch, a random head's 1.2."""
# Fewer leave a new head untrained, whatever the rate (Mosbach et al. 2021, section 5). From a
# solved one 30 to 120 did alike (96 questions of TREC, 32 reviews of SST-2, MiniLM).
MIN_STEPS, SOLVED_STEPS = 300, 120
MAX_EPOCHS = 100


def recipe_for(rates: Rates, encoder_parameters: int, rows: int, batch_size: int) -> Recipe:
    """The recipe for a size, in parameters without embeddings; more epochs where rows are few."""
    recipe = next(recipe for bound, recipe in rates if encoder_parameters < bound)
    steps = SOLVED_STEPS if recipe.learning_rate <= GENTLE else MIN_STEPS
    enough = ceil(steps / ceil(rows / batch_size))
    epochs = min(max(recipe.num_epochs, enough), max(MAX_EPOCHS, recipe.num_epochs))
    if epochs == recipe.num_epochs:
        return recipe
    reason = f"for {steps} steps, in {MAX_EPOCHS} epochs at most"
    return replace(recipe, num_epochs=epochs, epochs_source=reason)
