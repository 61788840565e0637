"""The settings of the commands, each with its type, default, help and check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from footwork.errors import ConfigError
from footwork.fewshot.methods import LearnOptions
from footwork.help_page import INDEX, LABELS, METHOD, MODEL
from footwork.options import EncoderConfig
from search.options import FilterOptions, StoreOptions
from zeroshot.classifier import ZeroShotOptions


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
        """Check every value, and what goes together.

        Raises:
            ConfigError: One is out of range, or there is no index that it could be about.
        """
        IndexOptions.__post_init__(self)
        FilterOptions.__post_init__(self)
        if self.is_named:
            return
        if not self.filter().is_empty:
            flags = ", ".join(
                f"--{f.name.strip('_').replace('_', '-')}" for f in fields(FilterOptions)
            )
            raise ConfigError(
                f"{flags} choose among the images of an index. Name one with --index."
            )
        if not self.keep:
            raise ConfigError("--no-keep is about the labels of an index. Name one with --index.")


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
    """With --taught: give no label below this probability; if not given, what was calibrated."""

    def __post_init__(self) -> None:
        """Check every value, and what goes together.

        Raises:
            ConfigError: One is out of range, or contradicts another.
        """
        ZeroShotOptions.__post_init__(self)
        if self.taught is None and self.abstain_below is not None:
            raise ConfigError("--abstain-below goes with --taught; for words it is --none-below.")
        about_words = ("labels", "labels_file", "templates", "multi", "none_below")
        given = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if self.taught is not None and (clash := [name for name in given if name in about_words]):
            raise ConfigError(
                f"--{clash[0].replace('_', '-')} is about labels in words, but --taught "
                f"{self.taught} brings its own. Take one of them."
            )


@Parameter(group=Group("What is done with the files", sort_key=8))
@dataclass(frozen=True, kw_only=True)
class SortingOptions:
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
        """Check what goes together.

        Raises:
            ConfigError: Something does not.
        """
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
        return self.copy_to or self.move_to

    @property
    def how(self) -> Literal["copy", "move"]:
        """What is done with each file."""
        return "copy" if self.copy_to else "move"


@METHOD
@dataclass(frozen=True, slots=True, kw_only=True)
class TeachOptions(LearnOptions):
    """How a classifier of images is taught."""

    templates: str | None = None
    """imagenet, short, one template, a file of them, or a .json file of prompts by label: what
    class names are put into; if not given, the usual one of the model."""
    unlabelled: tuple[Path, ...] = ()
    """Images without a label, in folders or by name, to choose from which to label next."""
    suggestions: int = 10
    """How many of them to name."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        LearnOptions.__post_init__(self)
        if self.suggestions < 0:
            raise ConfigError(f"`suggestions` must be at least 0, got {self.suggestions}.")

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON takes it."""
        return asdict(self) | {"unlabelled": [str(path) for path in self.unlabelled]}
