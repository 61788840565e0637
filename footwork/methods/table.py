"""The methods by which a pretrained model is adapted: the one place that knows their names.

To add one: a class of `footwork.methods.adaptation.Adaptation` in a file here, and its row below.
Audit, rates, options, help, model cards, uploads and merging read the row.
"""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Literal, Self

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.files.faults import counted
from footwork.help_page import METHOD
from footwork.methods import rates
from footwork.methods.rates import Rates
from footwork.settings import Settings

if TYPE_CHECKING:
    from footwork.methods.adaptation import Adaptation


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
    continues: bool = True
    """Whether all that trained is in it, so that its training can go on."""


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
    pairs: int = 0
    """Pairs of training rows in an epoch, for each row; 0 goes through the rows themselves. The
    head is solved when the encoder has learned by them."""
    one_class: bool = False
    """Whether a row must have one class: not several labels, and no amount."""
    pretrained: bool = True
    """Whether it begins with the weights of the base, and not with its architecture alone."""
    adapter: Adapter | None = None
    """None publishes a plain folder, whole."""
    files: tuple[str, ...] = ()
    """Of a model of the task's own: that by which its folder is known, and the weights."""
    settings: tuple[str, ...] = ()
    """Fields of `AdaptationConfig` that mean nothing to the methods that do not name them."""
    convolves: bool = True
    """Whether it adapts networks of convolutions, too."""
    texts_alone: bool = False
    """Whether images have nothing that it could change."""

    @property
    def has_model(self) -> bool:
        """Whether it adapts a model of transformers."""
        return self.code is not None

    @property
    def solves(self) -> bool:
        """Whether its head is solved on features in the end, and not trained in steps."""
        return self.features_once or self.pairs > 0

    def epoch(self, rows: int, called: str) -> tuple[int, str]:
        """What an epoch goes through of so many training rows, `called` so: how much, in words."""
        if not self.pairs:
            return rows, counted(rows, called)
        pairs = min(self.pairs * rows, MOST_PAIRS)
        return pairs, f"{counted(pairs, 'pair')} of {called}s"

    @property
    def adaptation(self) -> "Adaptation":
        """Its code."""
        if self.code is None:
            raise ValueError("This method adapts no model.")
        adaptation: Adaptation = resolve_name(self.code)
        return adaptation


MOST_PAIRS = 20_000
"""Of an epoch: more take long, and tell little more."""
_PEFT_FILE = "adapter_config.json"
_LORA = ("lora_rank", "lora_alpha", "lora_dropout")

METHODS: dict[str, Method] = {
    "lora": Method(
        code="footwork.methods.peft:LORA",
        trains="low-rank adapters, and the head",
        share=1 / 50,  # adapters of usual rank, and the head
        rates=rates.LORA,
        adapter=Adapter(file=_PEFT_FILE, library="peft", called="a LoRA adapter on"),
        settings=(*_LORA, "lora_variant"),
    ),
    "full": Method(
        code="footwork.methods.adaptation:FULL",
        trains="every weight",
        share=1,
        rates=rates.FULL,
    ),
    "head": Method(
        code="footwork.methods.adaptation:HEAD",
        trains="the head alone, solved to its optimum on features of the frozen encoder",
        share=1 / 50,
        rates={},
        features_once=True,
    ),
    "prototypes": Method(
        code="footwork.methods.prototypes:PROTOTYPES",
        trains="the head alone, in closed form: the class whose mean is nearest",
        share=1 / 50,
        rates={},
        features_once=True,
        one_class=True,
    ),
    "contrastive": Method(
        code="footwork.methods.contrastive:CONTRASTIVE",
        trains="every weight, by pairs of one class and of two, then the head as head does",
        share=1,
        rates=rates.CONTRASTIVE,
        pairs=20,
        one_class=True,
    ),
    "gradual": Method(
        code="footwork.methods.adaptation:GRADUAL",
        trains="the head, then one more layer from the top in each epoch",
        share=1,
        rates=rates.as_other(rates.FULL, "as full: {}; ULMFiT, Howard & Ruder 2018"),
    ),
    "top-k": Method(
        code="footwork.methods.adaptation:TOP_LAYERS",
        trains="the uppermost layers, and the head",
        share=1 / 4,
        rates=rates.as_other(rates.FULL, "as full: {}; Lee et al. 2019"),
        settings=("top_layers",),
    ),
    "bitfit": Method(
        code="footwork.methods.adaptation:BITFIT",
        trains="the biases, and the head",
        share=1 / 500,
        rates=rates.BITFIT,
    ),
    "ia3": Method(
        code="footwork.methods.peft:IA3",
        trains="a factor for each unit of a layer",
        share=1 / 500,
        rates=rates.IA3,
        adapter=Adapter(file=_PEFT_FILE, library="peft", called="an IA³ adapter on"),
    ),
    "adalora": Method(
        code="footwork.methods.adalora:ADALORA",
        trains="low-rank adapters, their ranks given to the layers where they are worth most",
        share=1 / 40,
        rates=rates.ADALORA,
        adapter=Adapter(
            file=_PEFT_FILE, library="peft", called="an AdaLoRA adapter on", continues=False
        ),
        settings=_LORA,
    ),
    "prompt": Method(
        code="footwork.methods.peft:PROMPT",
        trains="a soft prompt before each text; of texts alone",
        share=1 / 500,
        rates=rates.PROMPT,
        adapter=Adapter(file=_PEFT_FILE, library="peft", called="a soft prompt for", merges=False),
        settings=("prompt_length",),
        texts_alone=True,
    ),
    "p-tuning": Method(
        code="footwork.methods.peft:P_TUNING",
        trains="a soft prompt that a small network changes; of texts alone",
        share=1 / 50,
        rates=rates.P_TUNING,
        adapter=Adapter(
            file=_PEFT_FILE,
            library="peft",
            called="a soft prompt for",
            merges=False,
            continues=False,
        ),
        settings=("prompt_length",),
        texts_alone=True,
    ),
    "scratch": Method(
        code="footwork.methods.adaptation:SCRATCH",
        trains="every weight, from random ones: what the pretraining is worth",
        share=1,
        rates=rates.SCRATCH,
        pretrained=False,
    ),
    "adapter": Method(
        code="footwork.methods.bottleneck:BOTTLENECKS",
        trains="bottlenecks behind attention and feed-forward part of every layer, and its norms",
        share=1 / 40,
        rates=rates.ADAPTER,
        adapter=Adapter(
            file="bottleneck_adapter.json",
            library="footwork",
            called="a bottleneck adapter on",
            merges=False,
        ),
        settings=("adapter_size",),
    ),
    "prefix": Method(
        code="footwork.methods.prefix:PREFIXES",
        trains="keys and values that every attention sees beside those of the input",
        share=1 / 200,
        rates=rates.PREFIX,
        adapter=Adapter(
            file="prefix_adapter.json", library="footwork", called="a prefix for", merges=False
        ),
        settings=("prefix_length",),
    ),
    "linear": Method(
        code=None,
        trains="no pretrained model, but a linear one on TF-IDF; of texts alone",
        share=0,
        rates={},
        files=("tfidf.json", "linear.safetensors"),
    ),
}

PEFT = "peft:"
"""Before the name of a further method of peft, which is taken with peft's own settings."""
_OTHERS = {
    "adamss": "AdaMSS",
    "beft": "BEFT",
    "boft": "BOFT",
    "c3a": "C³A",
    "deft": "DEFT",
    "delora": "DeLoRA",
    "fourierft": "FourierFT",
    "glora": "GLoRA",
    "gralora": "GraLoRA",
    "hira": "HiRA",
    "hra": "HRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "miss": "MiSS",
    "oft": "OFT",
    "osf": "OSF",
    "peanut": "PEANuT",
    "psoft": "PSOFT",
    "pvera": "PVeRA",
    "randlora": "RandLoRA",
    "road": "RoAd",
    "supertuning": "SuperTuning",
    "tinylora": "TinyLoRA",
    "unilora": "UniLoRA",
    "vblora": "VB-LoRA",
    "vera": "VeRA",
    "waveft": "WaveFT",
}
"""Name → what people call it.

Tried with peft 0.21 on BERT, RoBERTa, DeBERTa, ModernBERT and ViT. What it has beside fails there
(prefix tuning, Cartridge, adaption prompt, CPT, poly and multitask prompts, X-LoRA, Shadow), trains
whole layers or nothing (`ln_tuning`, `trainable_tokens`), does not merge (Lily), or has products of
sparse matrices, of which torch warns (FRoD, SHiRA).
"""
_CONVOLVE = ("hira", "loha", "lokr")
OF_PEFT = {
    f"{PEFT}{name}": Method(
        code="footwork.methods.peft:OTHER",
        trains=f"{called} adapters",
        share=1 / 50,
        rates=rates.as_other(rates.LORA, "as lora: {}"),
        adapter=Adapter(file=_PEFT_FILE, library="peft", called=f"a peft adapter ({called}) on"),
        convolves=name in _CONVOLVE,
    )
    for name, called in _OTHERS.items()
}
OTHERS_TRAIN = (
    "another method of peft, as it is set there, at the rate of lora, NAME being "
    f"{', '.join(_OTHERS)}"
)
_ONE_CLASS = "single_label_classification"
AUTO, USUAL, OF_FEW, OF_FEWEST = "auto", "lora", "full", "contrastive"
PROBE, UNPRETRAINED = "head", "linear"
FEW, FEW_OF_SMALL, SMALL = 1000, 10_000, 60e6
"""Training rows, below which every weight is trained where nothing else is asked for; of an encoder
of fewer than so many parameters. Its memory is no reason for adapters, and over nine sets of 1,000
to 7,000 rows `full` was 0.9 points ahead of `lora` in the mean (MiniLM; docs/methods.md)."""
FEWEST, TINY = 100, 5e6
"""Rows of one input and one class each, below which pairs of rows teach more than rows one by one;
not an encoder of fewer parameters (TREC-6, 48 rows, `tiny`: 0.31 beside 0.38 of `full`). Of 80 rows
of two texts (MRPC) they told 0.65, `full` 0.70."""


def method_of(name: str) -> Method:
    """The row of a method, one that has a name of peft's among them."""
    return METHODS[name] if name in METHODS else OF_PEFT[name]


def method_names() -> tuple[str, ...]:
    """What `method` may be."""
    return (AUTO, *METHODS, *OF_PEFT)


AUTO_TAKES = (
    f"{OF_FEWEST} below {FEWEST} training rows of one class each (not pairs of texts, nor of an "
    f"encoder below {TINY / 1e6:g} million parameters, or one that knows the classes), {OF_FEW} "
    f"below {FEW:,} ({FEW_OF_SMALL:,} of an encoder below {SMALL / 1e6:g} million), else {USUAL}, "
    "as wherever a setting of it is given"
)

if TYPE_CHECKING:
    MethodName = str
else:
    _WORDS = "; ".join(f"{name}: {method.trains}" for name, method in METHODS.items())
    _HELP = f"{AUTO}: {AUTO_TAKES}; {_WORDS}; {PEFT}NAME: {OTHERS_TRAIN}."
    MethodName = Annotated[Literal[method_names()], Parameter(help=_HELP, show_choices=False)]


@dataclass(frozen=True, kw_only=True)
class AdaptationConfig(Settings):
    """How a pretrained model is adapted."""

    method: Annotated[MethodName, METHOD] = AUTO
    lora_rank: Annotated[int, METHOD] = 8
    """Rank of the adapters; of adalora their mean in the end."""
    lora_alpha: Annotated[float | None, METHOD] = None
    """The adapters' output is scaled by alpha / rank; if not given, twice the rank."""
    lora_dropout: Annotated[float, METHOD] = 0.0
    """Dropout before the adapters."""
    lora_variant: Annotated[Literal["plain", "dora", "rslora", "pissa", "olora"], METHOD] = "plain"
    """dora: weight-decomposed; rslora: rank-stabilised; pissa, olora: started from the weights'
    principal directions."""
    top_layers: Annotated[int | None, METHOD] = None
    """How many layers train (of convolutional networks: stages, or blocks where there are none); if
    not given, a quarter of them."""
    prompt_length: Annotated[int, METHOD] = 20
    """Vectors that are put before each text; they count as tokens of it."""
    adapter_size: Annotated[int, METHOD] = 64
    """Width of the bottlenecks."""
    prefix_length: Annotated[int, METHOD] = 20
    """Learned keys and values of an attention."""
    layer_decay: Annotated[float, METHOD] = 1.0
    """Each layer below the top learns at this multiple of the rate of the one above; 1 is off."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range, or belongs to another method.
        """
        super().__post_init__()
        sizes = ("lora_rank", "top_layers", "prompt_length", "adapter_size", "prefix_length")
        for name, holds, allowed in (
            *((size, (getattr(self, size) or 0) >= 1, "at least 1") for size in sizes),
            ("lora_alpha", (self.lora_alpha or 0) > 0, "above 0"),
            ("lora_dropout", 0 <= self.lora_dropout < 1, "from 0 up to 1"),
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0 and at most 1"),
        ):
            if not holds and getattr(self, name) is not None:
                raise ConfigError(f"`{name}` must be {allowed}, got {getattr(self, name)}.")
        for setting in self.stated_settings:
            owners = [name for name, method in METHODS.items() if setting in method.settings]
            if (USUAL if self.method == AUTO else self.method) not in owners:
                raise ConfigError(
                    f"`{setting}` is a setting of --method {' or '.join(owners)}, not of "
                    f"{self.method}, got {getattr(self, setting)}. Leave it out."
                )

    @property
    def stated_settings(self) -> list[str]:
        """Those that belong to some methods alone, and are not as usual."""
        usual = type(self).__dataclass_fields__
        return [name for name in _of_some() if getattr(self, name) != usual[name].default]

    @property
    def foreign_settings(self) -> set[str]:
        """Those that mean nothing to the method."""
        return {*_of_some()} - {*self.method_row.settings}

    @property
    def method_row(self) -> Method:
        """Of the table, the row of the method; of `auto` the usual one, until it is `chosen`."""
        return method_of(USUAL if self.method == AUTO else self.method)

    @property
    def tokens_before(self) -> int:
        """That the method puts before each text."""
        return self.prompt_length if "prompt_length" in self.method_row.settings else 0

    def require_task(self, task: str) -> None:
        """Refuse a task, a `problem_type` of transformers, that the method cannot learn."""
        if self.method_row.one_class and task != _ONE_CLASS:
            others = methods_where(lambda method: not method.one_class)
            kind = task.removesuffix("_classification").replace("_", " ")
            raise ConfigError(
                f"--method {self.method} takes rows of one class each, and this is {kind}. Use "
                f"--method {others}."
            )

    def chosen(
        self, rows: int, encoder_parameters: int, *, contrasts: bool
    ) -> tuple[Self, tuple[str, ...]]:
        """With the method that did best, where it is left open, and why, a sentence.

        Args:
            rows: To train on.
            encoder_parameters: Of the model, by which its rates go.
            contrasts: Whether each row has one input and one class, and the model has not learned
                these classes before.
        """
        if self.method != AUTO:
            return self, ()
        small = encoder_parameters < SMALL
        bound = FEW_OF_SMALL if small else FEW
        name, why = USUAL, f"{bound:,} rows or more"
        if rows < bound:
            name, why = OF_FEW, f"fewer than {bound:,} rows"
        why += f" and an encoder below {SMALL / 1e6:g} million parameters" if small else ""
        if rows < FEWEST and contrasts and encoder_parameters >= TINY:
            name, why = OF_FEWEST, f"fewer than {FEWEST} rows of one class each"
        if self.stated_settings:
            name, why = USUAL, f"{', '.join(self.stated_settings)} given"
        return replace(self, method=name), (f"Method: {name}, for {why} (--method decides).",)


def _of_some() -> dict[str, None]:
    """Settings that belong to some methods alone, in the order of the table."""
    return {each: None for method in METHODS.values() for each in method.settings}


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
