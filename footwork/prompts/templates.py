"""The sentences that labels are put into before a model reads them.

`imagenet` and `short` are the 80 templates of the CLIP paper, and the 7 of them that a forward
selection on ImageNet kept. Source: Radford et al. 2021, section 3.1.4 (arXiv:2103.00020), with the
notebook `Prompt_Engineering_for_ImageNet` of its repository (openai/CLIP).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError
from footwork.tables.source import Entry, read_entries, read_text

DEFAULT = ("a photo of a {}.",)
"""For models with a softmax, CLIP and its family."""
SIGMOID_DEFAULT = ("This is a photo of {}.",)
"""For models with a sigmoid, SigLIP and its family."""
SLOT = "{}"

_SHORT = """
itap of a {}.
a bad photo of the {}.
a origami {}.
a photo of the large {}.
a {} in a video game.
art of the {}.
a photo of the small {}.
"""
_IMAGENET = """
a bad photo of a {}.
a photo of many {}.
a sculpture of a {}.
a photo of the hard to see {}.
a low resolution photo of the {}.
a rendering of a {}.
graffiti of a {}.
a bad photo of the {}.
a cropped photo of the {}.
a tattoo of a {}.
the embroidered {}.
a photo of a hard to see {}.
a bright photo of a {}.
a photo of a clean {}.
a photo of a dirty {}.
a dark photo of the {}.
a drawing of a {}.
a photo of my {}.
the plastic {}.
a photo of the cool {}.
a close-up photo of a {}.
a black and white photo of the {}.
a painting of the {}.
a painting of a {}.
a pixelated photo of the {}.
a sculpture of the {}.
a bright photo of the {}.
a cropped photo of a {}.
a plastic {}.
a photo of the dirty {}.
a jpeg corrupted photo of a {}.
a blurry photo of the {}.
a photo of the {}.
a good photo of the {}.
a rendering of the {}.
a {} in a video game.
a photo of one {}.
a doodle of a {}.
a close-up photo of the {}.
a photo of a {}.
the origami {}.
the {} in a video game.
a sketch of a {}.
a doodle of the {}.
a origami {}.
a low resolution photo of a {}.
the toy {}.
a rendition of the {}.
a photo of the clean {}.
a photo of a large {}.
a rendition of a {}.
a photo of a nice {}.
a photo of a weird {}.
a blurry photo of a {}.
a cartoon {}.
art of a {}.
a sketch of the {}.
a embroidered {}.
a pixelated photo of a {}.
itap of the {}.
a jpeg corrupted photo of the {}.
a good photo of a {}.
a plushie {}.
a photo of the nice {}.
a photo of the small {}.
a photo of the weird {}.
the cartoon {}.
art of the {}.
a drawing of the {}.
a photo of the large {}.
a black and white photo of a {}.
the plushie {}.
a dark photo of a {}.
itap of a {}.
graffiti of the {}.
a toy {}.
itap of my {}.
a photo of a cool {}.
a photo of a small {}.
a tattoo of the {}.
"""
NAMED = {
    name: tuple(block.strip().splitlines())
    for name, block in (("imagenet", _IMAGENET), ("short", _SHORT))
}


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

    def require_known(self, class_names: Sequence[str]) -> None:
        """Refuse prompts of classes that are not there.

        Raises:
            ConfigError: A class of `by_class` is none of `class_names`.
        """
        unknown = sorted(self.by_class.keys() - set(class_names))
        if unknown:
            raise ConfigError(
                f"The prompts name the class {unknown[0]!r}, which is none of the "
                f"{len(class_names)} labels. Add it to the labels, or take it out."
            )


def load_prompts(name_or_path: str | None, default: Sequence[str] = DEFAULT) -> Prompts:
    """Templates for all classes, or the prompts of single ones from a `.json` file.

    Such a file holds one object, {label: [prompt, …]}. A `{}` in a prompt stands for the label and
    may be left out; labels that the file does not name take the default template.

    Args:
        name_or_path: `imagenet`, `short`, a template, or a file; None takes the default.
        default: For classes without prompts of their own.

    Raises:
        ConfigError: The file cannot be read or used.
    """
    if name_or_path is not None and name_or_path.lower().endswith(".json"):
        return Prompts(tuple(default), _read_prompts(Path(name_or_path)))
    return Prompts(load_templates(name_or_path, default))


def load_templates(name_or_path: str | None, default: Sequence[str] = DEFAULT) -> tuple[str, ...]:
    """Templates by name, one as it stands, or a file of them; `{}` alone is the bare label.

    Args:
        name_or_path: `imagenet`, `short`, a template, or a file with one a line; None takes the
            default.
        default: What None stands for.

    Raises:
        ConfigError: The file cannot be read, or a line is no template.
    """
    if name_or_path is None:
        return tuple(default)
    if name_or_path in NAMED:
        return NAMED[name_or_path]
    path = Path(name_or_path)
    if path.exists():
        return _checked(read_entries(path))
    if SLOT in name_or_path:
        return _checked([Entry(name_or_path.strip(), "--templates")])
    raise ConfigError(
        f"There are no templates {name_or_path!r}. Give {', '.join(NAMED)}, a template with one "
        f"{SLOT}, such as {DEFAULT[0]!r}, or a file with one a line."
    )


def _checked(entries: Sequence[Entry]) -> tuple[str, ...]:
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


def _read_prompts(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        document = json.loads(read_text(path), object_pairs_hook=lambda pairs: _unique(path, pairs))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError(f'{path} must hold one object, {{"label": ["prompt", …], …}}.')
    return {name.strip(): _class_prompts(path, name, found) for name, found in document.items()}


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ConfigError(f"{path} names a class twice. Put all its prompts into one list.")
    return found


def _class_prompts(path: Path, name: str, found: Any) -> tuple[str, ...]:
    listed = found if isinstance(found, list) else []
    if not listed or not all(isinstance(each, str) and each.strip() for each in listed):
        raise ConfigError(f"{path}: {name!r} must have a list of at least one prompt, got {found}.")
    for prompt in listed:
        if prompt.count(SLOT) > 1:
            raise ConfigError(f"{path}: a prompt has at most one {SLOT}; {prompt!r} has more.")
    return tuple(dict.fromkeys(prompt.strip() for prompt in listed))
