"""The settings of the commands, each with its type, default, help and check.

Annotations are evaluated here: cyclopts would evaluate inherited ones in the module of the heir.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from footwork.errors import ConfigError, require_at_least, require_one_of, require_probability
from footwork.fewshot.methods import LearnOptions
from footwork.files.paths import user_path
from footwork.finetuning.config import FinetuningConfig
from footwork.help_page import DATA, INDEX, LABELS, METHOD, MODEL
from footwork.methods.table import METHODS, PROBE
from footwork.options import DEFAULT_IMAGE_MODEL, Decode, EncoderConfig, LabelSettings
from footwork.prompts.none_of_these import NONE_BELOW
from footwork.settings import Settings
from footwork.tables.labels import MULTI_LABEL, SINGLE_LABEL
from search.options import FilterOptions, StoreOptions

Augment = Literal["auto", "none", "flips", "crops"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(EncoderConfig):
    """The model that embeds images and texts, and how it is run."""

    model_id: Annotated[str | None, Parameter(name=["--model", "--model-id"]), MODEL] = None
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`; if not given, that of
    --index or --taught, and else openai/clip-vit-base-patch32."""
    revision: Annotated[str | None, MODEL] = None
    """Branch, tag or commit on the Hub: of the model, or without --model of --taught."""


@dataclass(frozen=True, kw_only=True)
class IndexOptions(StoreOptions):
    """An index of `footwork search index`, whose embeddings are taken."""

    index: Annotated[Path | None, Parameter(name=["--index", "-i"]), INDEX] = None
    """Folder of an index, or of photos that were indexed: images that it knows, unchanged, are not
    decoded; its model embeds the others."""

    @property
    def is_named(self) -> bool:
        """Whether there is one."""
        return self.index is not None or self.store is not None


@dataclass(frozen=True, kw_only=True)
class LabelledIndexOptions(IndexOptions, FilterOptions):
    """An index to be labelled, and which of its images."""

    keep: Annotated[bool, INDEX] = True
    """Write the labels into the index, where `footwork search query --label` finds them, in place
    of those that these images had."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_named:
            return
        if not self.filter().is_empty:
            names = [each.name.strip("_").replace("_", "-") for each in fields(FilterOptions)]
            flags = ", ".join(f"--{name}" for name in names)
            raise ConfigError(
                f"{flags} choose among the images of an index. Name one with --index."
            )
        if not self.keep:
            raise ConfigError("--no-keep is about the labels of an index. Name one with --index.")


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions(Settings):
    """How labels are put to the model, and when they are given."""

    templates: str | None = None
    """imagenet (80), short (7), one template such as "a sketch of a {}.", a file of them, or a
    .json file of prompts {label: [prompt, …]}; if not given, the usual one of the model."""
    multi: bool = False
    """Judge each label by itself: an image may have several."""
    top_k: int | None = None
    """How many scores to give, the best first; if not given, all, in the order of the labels, and
    of more than 1,000 labels the best 10."""
    none_below: float | None = NONE_BELOW
    """Give no label that stands less above unrelated words than this, in their standard
    deviations: more is stricter. `none` always gives one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "top_k")


@LABELS
@dataclass(frozen=True, kw_only=True)
class LabelOptions(ZeroShotOptions):
    """Which labels are given: in words, or by what was taught."""

    labels: str | None = None
    """Labels, separated by commas; one that holds a comma stands in double quotes."""
    labels_file: Path | None = None
    """A file of labels, one a line; one that begins with # is a comment, one with \\# a label that
    does."""
    taught: str | None = None
    """A folder that `teach` or `finetune` made, or the Hub id (owner/name) that it was pushed to;
    its classes are the labels."""
    abstain_below: float | None = None
    """With --taught: give no label below this probability; 0 withholds none as unsure; if not
    given, what was calibrated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.taught is None and self.abstain_below is not None:
            raise ConfigError("--abstain-below goes with --taught; for words it is --none-below.")
        about_words = ("labels", "labels_file", "templates", "multi", "none_below", "top_k")
        given = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if self.taught is not None and (clash := [name for name in given if name in about_words]):
            raise ConfigError(
                f"--{clash[0].replace('_', '-')} is about labels in words, but --taught "
                f"{self.taught} brings its own. Take one of them."
            )


@Parameter(group=Group("What is done with the files", sort_key=8))
@dataclass(frozen=True, kw_only=True)
class SortingOptions(Settings):
    """What is done with the files once they are labelled."""

    copy_to: Path | None = None
    """Copy each file into the folder of its label below this one; says what it would do, and does
    it with --yes."""
    move_to: Path | None = None
    """The same, moving; DIR/footwork-undo.jsonl lets `undo` put all back."""
    yes: bool = False
    """Copy or move now."""
    xmp: bool = False
    """Write the labels as keywords into a sidecar beside each image, where photo programs read
    them; the image itself is not touched."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copy_to is not None and self.move_to is not None:
            raise ConfigError("--copy-to and --move-to exclude each other. Take one.")
        if self.yes and not self.target:
            raise ConfigError("--yes goes with --copy-to or --move-to.")

    @property
    def wanted(self) -> bool:
        """Whether anything is to be done at all."""
        return self.xmp or self.target is not None

    @property
    def target(self) -> Path | None:
        """The folder to sort into."""
        given = self.copy_to or self.move_to
        return given and user_path(given)

    @property
    def how(self) -> Literal["copy", "move"]:
        """What is done with each file."""
        return "copy" if self.copy_to else "move"


@METHOD
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Settings):
    """What is judged, and what it is compared with."""

    templates: str | None = None
    """Judged in detail: imagenet, short, one template, a file of them, or a .json file of prompts
    by label; if not given, the usual one of the model."""
    compare: tuple[str, ...] = ("{}", "short", "imagenet")
    """Template set to compare it with, beside the usual one; several each with an option of its
    own, none with --empty-compare. imagenet costs 80 texts a class, once."""
    none_below: float | None = NONE_BELOW
    """As for `label`, of labels in words: what "none of these" would cost is told. `none` always
    gives a label."""
    seed: int = 0
    """Of the resamples and folds."""

    def __post_init__(self) -> None:  # the rest is checked where it is read
        super().__post_init__()
        require_at_least(0, self, "seed")


@METHOD
@dataclass(frozen=True, kw_only=True)
class TeachOptions(LearnOptions):
    """How a classifier of images is taught."""

    templates: str | None = None
    """imagenet, short, one template, a file of them, or a .json file of prompts by label: what
    class names are put into; if not given, the usual one of the model."""
    unlabelled: Annotated[tuple[Path, ...], Parameter(negative="")] = ()
    """An image without a label, or a folder of such, to choose from which to label next; several
    each with an option of its own."""
    suggestions: int = 10
    """How many of them to name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, self, "suggestions")

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON takes it."""
        return asdict(self) | {"unlabelled": [str(path) for path in self.unlabelled]}


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(LabelSettings, FinetuningConfig):
    """Everything that determines a fine-tuning run."""

    model_id: Annotated[str, Parameter(name=["--model", "--model-id"]), MODEL] = DEFAULT_IMAGE_MODEL
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`: any image classifier
    or two-tower model of transformers."""
    features_from: Annotated[int | None, METHOD] = None
    """Read the features after so many layers (of a ResNet or ConvNeXt: stages) from below, for
    images far from what the model knows; if not given, after all."""
    validation_share: Annotated[float, DATA] = 0.2
    """Share of the images held out to judge by, where the folder has no `validation` of its own."""
    augment: Annotated[Augment, DATA] = "auto"
    """How each image is changed at random, in every epoch otherwise. flips: every second one is
    mirrored, which is wrong where left and right tell the classes apart; crops: that, and cut to 80
    to 100 % of its sides; none: not at all, as always where features are computed once; auto: crops
    or flips, unless validation images that are changed so are less often told by a linear probe."""
    task: Annotated[Literal["single", "multi"] | None, DATA] = None
    """multi: an image may have several labels, or none, as a table says of it; if not given, what
    the labels are."""
    decode: Annotated[Decode | None, DATA] = None
    """draft: a large JPEG at a fraction that leaves twice the pixels that the model needs, or more,
    which takes a fraction of the time; exact: every pixel, as other programs decode it. What is
    published decodes alike. If not given, as a fine-tuned model was made, and else draft."""

    def __post_init__(self) -> None:
        method = METHODS.get(str(self.method))
        if method is not None and not method.has_model:
            raise ConfigError(
                f"--method {self.method} counts words, and images have none. A linear model on "
                f"what a pretrained one sees in them is --method {PROBE}."
            )
        super().__post_init__()
        if not 0 < self.validation_share < 1:
            message = f"`validation_share` must be between 0 and 1, got {self.validation_share}."
            raise ConfigError(message)
        require_at_least(1, self, "features_from")
        if self.best_metric is not None:
            metrics = (*self.metrics_of(SINGLE_LABEL), *self.metrics_of(MULTI_LABEL))
            require_one_of("best_metric", self.best_metric, dict.fromkeys(metrics))

    @property
    def augmentation(self) -> Augment:
        """`augment`, for the method."""
        return "none" if self.method_row.features_once else self.augment


@dataclass(frozen=True, kw_only=True)
class FinetunedOptions(EncoderConfig):
    """How a fine-tuned classifier is run, and when it gives no label."""

    abstain_below: float | None = None
    """Give no label below this probability; None takes what was calibrated, 0 withholds none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_probability("abstain_below", self.abstain_below)


APPLICATION, FINETUNED = "zeroshot", "finetuned"


def is_finetuned(manifest: Any) -> bool:
    """Whether a `footwork.json` is that of a fine-tuned image classifier."""
    stated = manifest if isinstance(manifest, dict) else {}
    return (stated.get("application"), stated.get("kind")) == (APPLICATION, FINETUNED)


def decoding_in(manifest: Any) -> Decode:
    """How the images were decoded that a model was fine-tuned on, as its `footwork.json` says."""
    config = manifest.get("config")  # older ones knew no other decoding
    return "exact" if isinstance(config, dict) and config.get("decode") == "exact" else "draft"
