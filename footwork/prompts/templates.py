"""The sentences that labels are put into before a model reads them.

`imagenet.txt` and `short.txt` are the 80 templates of the CLIP paper, and the 7 of them that a
forward selection on ImageNet kept. Source: Radford et al. 2021, section 3.1.4 (arXiv:2103.00020),
with the notebook `Prompt_Engineering_for_ImageNet` of its repository (openai/CLIP).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footwork.class_names import class_name
from footwork.errors import ConfigError
from footwork.tables.source import Entry, read_entries, read_text

DEFAULT = ("a photo of a {}.",)
"""Of images, for models with a softmax: CLIP and its family."""
SIGMOID_DEFAULT = ("This is a photo of {}.",)
"""Of images, for models with a sigmoid: SigLIP and its family."""
SLOT = "{}"

NAMED = {
    name: tuple(Path(__file__).with_name(f"{name}.txt").read_text("utf-8").splitlines())
    for name in ("imagenet", "short")
}


def spoken(name: str) -> str:
    """A name as it reads in a sentence: `t-shirt_long` is "t shirt long"."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


@dataclass(frozen=True, slots=True)
class Prompts:
    """What stands for each class before the model."""

    templates: tuple[str, ...]
    """T sentences, each with one `{}`."""
    by_class: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Prompts of single classes, in place of the templates."""

    def of(self, class_name: str) -> tuple[str, ...]:
        """The prompts of one class, sorted: their order means nothing."""
        sentences = self.by_class.get(class_name, self.templates)
        return tuple(sorted(sentence.replace(SLOT, class_name) for sentence in sentences))

    def count(self, class_name: str) -> int:
        """How many prompts a class has."""
        return len(self.by_class.get(class_name, self.templates))

    def longest(self, class_name: str) -> str:
        """That prompt of a class which has the most characters."""
        if class_name in self.by_class:
            return max(self.of(class_name), key=len)
        return max(self.templates, key=len).replace(SLOT, class_name)  # each has one slot

    def among(self, class_names: Sequence[str]) -> Prompts:
        """The prompts of these classes, which may be called as their names are spoken.

        Prompts of a class that is not there are a `ConfigError`.
        """
        known = set(class_names)
        called = {name: name if name in known else spoken(name) for name in self.by_class}
        if unknown := sorted(name for name in called if called[name] not in known):
            raise ConfigError(
                f"The prompts name the class {unknown[0]!r}, which is none of the "
                f"{len(class_names)} labels. Add it to the labels, or take it out."
            )
        named: dict[str, str] = {}
        for name, label in called.items():
            if (first := named.setdefault(label, name)) != name:
                raise ConfigError(
                    f"The prompts name the class {label!r} twice, as {first!r} and {name!r}. Put "
                    "all its prompts into one list."
                )
        return Prompts(self.templates, {label: self.by_class[named[label]] for label in named})


def load_prompts(name_or_path: str | None, default: Sequence[str] = DEFAULT) -> Prompts:
    """Templates for all classes, or the prompts of single ones from a `.json` file.

    Such a file holds one object, {label: [prompt, …]}. A `{}` in a prompt stands for the label and
    may be left out; labels that the file does not name take the default templates. One that cannot
    be used is a `ConfigError`.
    """
    if name_or_path is None or not name_or_path.lower().endswith(".json"):
        return Prompts(load_templates(name_or_path, default))
    path = Path(name_or_path)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        named = {class_name(name): value for name, value in pairs}
        if len(named) < len(pairs):
            raise ConfigError(f"{path} names a class twice. Put all its prompts into one list.")
        return named

    try:
        document = json.loads(read_text(path), object_pairs_hook=unique)
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError(f'{path} must hold one object, {{"label": ["prompt", …], …}}.')
    of_class = {name: _class_prompts(path, name, value) for name, value in document.items()}
    return Prompts(tuple(default), of_class)


def load_templates(name_or_path: str | None, default: Sequence[str] = DEFAULT) -> tuple[str, ...]:
    """Templates by name, one as it stands, or a file with one a line; None is the default.

    `{}` alone is the bare label. What is no template is a `ConfigError`.
    """
    if name_or_path is None:
        return tuple(default)
    if name_or_path in NAMED:
        return NAMED[name_or_path]
    # `os.path` takes a name that is too long for one that is not there.
    if os.path.exists(name_or_path):  # noqa: PTH110
        entries: Sequence[Entry] = read_entries(Path(name_or_path))
    elif SLOT in name_or_path:
        entries = [Entry(name_or_path.strip(), "--templates")]
    else:
        raise ConfigError(
            f"There are no templates {name_or_path!r}. Give {', '.join(NAMED)}, a template with "
            f"one {SLOT}, such as {DEFAULT[0]!r}, or a file with one a line."
        )
    places: dict[str, str] = {}
    for entry in entries:
        slots = entry.text.count(SLOT)
        if slots != 1:
            raise ConfigError(
                f"{entry.place}: a template has one {SLOT}, where the label goes; "
                f"{entry.text!r} has {slots or 'none'}."
            )
        if entry.text in places:
            raise ConfigError(f"{entry.place} repeats {places[entry.text]}. Keep one.")
        places[entry.text] = entry.place
    return tuple(places)


def _class_prompts(path: Path, name: str, value: Any) -> tuple[str, ...]:
    prompts = value if isinstance(value, list) else []
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise ConfigError(f"{path}: {name!r} must have a list of at least one prompt, got {value}.")
    for prompt in prompts:
        if prompt.count(SLOT) > 1:
            raise ConfigError(f"{path}: a prompt has at most one {SLOT}; {prompt!r} has more.")
    return tuple(dict.fromkeys(prompt.strip() for prompt in prompts))
