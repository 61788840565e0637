"""Every setting of a teaching run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from footwork.errors import ConfigError
from footwork.help_page import METHOD

METHODS = ("ensemble", "gda", "prototypes", "linear-probe", "tip-adapter", "siamese")


@METHOD
@dataclass(frozen=True, slots=True, kw_only=True)
class TeachOptions:
    """How a classifier is taught."""

    method: Literal["ensemble", "gda", "prototypes", "linear-probe", "tip-adapter", "siamese"] = (
        "ensemble"
    )
    """ensemble: Gaussian discriminant analysis and logistic regression together; gda: the former;
    linear-probe: the latter; prototypes: the nearest class mean; tip-adapter: votes of similar
    examples; siamese: a head trained to tell same from different."""
    words: float | None = None
    """Share of the class names in the answer, from 0 (examples alone) to 1 (words alone); if not
    given, it is found on examples that are left out, and is 0 where names are not seen to be any
    better than chance, and to help."""
    templates: str | None = None
    """imagenet, short, one template, a file of them, or a .json file of prompts by label: what
    class names are put into; if not given, the usual one of the model."""
    target_accuracy: float | None = 0.95
    """Give no label below the probability from which this share of labels is right, if there are
    examples enough to know it (59 at the least for 0.95); `none` always gives one."""
    refused: float | None = 0.05
    """Share of images of the classes that may be taken for none of them; `none` lets
    that happen to none."""
    unlabelled: tuple[Path, ...] = ()
    """Images without a label, in folders or by name, to choose from which to label next."""
    suggestions: int = 10
    """How many of them to name."""
    compare: bool = False
    """Estimate the other methods too."""
    seed: int = 0
    """Of the siamese head, where it looks at a part of the examples at a time."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        if self.method not in METHODS:
            message = f"`method` must be one of {', '.join(METHODS)}, got {self.method!r}."
            raise ConfigError(message)
        if self.words is not None and not 0 <= self.words <= 1:
            raise ConfigError(f"`words` is a share from 0 to 1, got {self.words}.")
        for name in ("target_accuracy", "refused"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"`{name}` is a share between 0 and 1, got {value}.")
        for name in ("suggestions", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`{name}` must be at least 0, got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON takes it."""
        return asdict(self) | {"unlabelled": [str(path) for path in self.unlabelled]}
