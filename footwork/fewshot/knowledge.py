"""All that a taught classifier computes with, in memory and on disk: words and examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.errors import ConfigError, ModelError
from footwork.evaluation.logits import FloatArray, log_softmax
from footwork.fewshot.blend import Blend
from footwork.fewshot.familiarity import Familiarity
from footwork.fewshot.heads import AnyHead, Float32, head_from_tensors, head_tensors
from footwork.fewshot.methods import METHOD
from footwork.files.plain_files import open_plain
from footwork.prompts.labels import ImageTextEncoder, embed_labels
from footwork.prompts.none_of_these import standings


@dataclass(frozen=True, slots=True)
class Words:
    """Class names and unrelated words, embedded."""

    classes: Float32
    """Shape (C, D), unit rows."""
    references: Float32
    """Shape (R, D), unit rows, of words that have nothing to do with the classes."""
    scale: float
    """What the model multiplies cosines by."""

    def logits(self, embeddings: NDArray[Any]) -> FloatArray:
        """Zero-shot logits, (N, C), of embeddings (N, D)."""
        return self.scale * _cosines(embeddings, self.classes)

    def standing(self, embeddings: NDArray[Any]) -> FloatArray:
        """How far the best class name stands above unrelated words, (N,)."""
        cosines = _cosines(embeddings, self.classes), _cosines(embeddings, self.references)
        return standings(*cosines).max(axis=1)


def embed_words(
    encoder: ImageTextEncoder, class_names: Sequence[str], templates: str | None
) -> tuple[Words, tuple[str, ...]]:
    """Embed class names as zero-shot does.

    Args:
        encoder: The model.
        class_names: C folder names; `_` and `-` are read as spaces.
        templates: Of `load_prompts`; None takes the usual one of the model.

    Raises:
        ConfigError: The templates cannot be used.

    Returns:
        And notes on names that say little, one sentence each.
    """
    found = embed_labels(encoder, [spoken(name) for name in class_names], templates)
    return Words(found.classes, found.references, encoder.logit_scale), found.notes


def spoken(folder_name: str) -> str:
    """A folder's name as it reads in a sentence: `t-shirt_long` is "t shirt long"."""
    return " ".join(folder_name.replace("_", " ").replace("-", " ").split())


def _cosines(embeddings: NDArray[Any], rows: Float32) -> FloatArray:
    found: FloatArray = embeddings.astype(np.float64) @ rows.T.astype(np.float64)
    return found


WEIGHTS = "taught.safetensors"
_LARGEST = 1e9  # that an honest weight may be


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When no label is given."""

    abstain_below: float | None = None
    """Probability of the best class; None never abstains."""
    familiar_from: float | None = None
    """Familiarity, 0 for a usual example and less for a stranger one; None takes any image."""

    def __post_init__(self) -> None:
        """Check the probability.

        Raises:
            ConfigError: It is none.
        """
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ConfigError(
                f"`abstain_below` must be a probability from 0 to 1, got {self.abstain_below}."
            )


@dataclass(frozen=True, slots=True)
class Answers:
    """What is thought of N images, before a label is given."""

    probabilities: FloatArray
    """Shape (N, C)."""
    familiarities: FloatArray
    """Shape (N,)."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that a taught classifier computes with."""

    head: AnyHead
    blend: Blend
    familiarity: Familiarity
    words: Words | None

    def answers(self, embeddings: NDArray[Any]) -> Answers:
        """Judge embeddings, (N, D), unit rows."""
        words = None if self.words is None else self.words.logits(embeddings)
        standing = None if self.words is None else self.words.standing(embeddings)
        logits = self.blend.logits(words, self.head.scores(embeddings))
        familiarities = self.familiarity.scores(embeddings, standing)
        return Answers(np.exp(log_softmax(logits)), familiarities)


def knowledge_manifest(method: str, knowledge: Knowledge) -> dict[str, Any]:
    """The numbers of `Knowledge` that JSON holds; arrays go to the weights."""
    familiarity, words = knowledge.familiarity, knowledge.words
    return {
        "method": method,
        "blend": asdict(knowledge.blend),
        "familiarity": {
            "leaning": list(familiarity.leaning),
            "standing": list(familiarity.standing),
        },
        "words_scale": None if words is None else words.scale,
    }


def save_knowledge(folder: Path, knowledge: Knowledge) -> None:
    """Write the arrays into a folder that exists."""
    from safetensors.numpy import save_file

    save_file(_tensors(knowledge), folder / WEIGHTS)


def read_knowledge(folder: Path, parts: dict[str, Any]) -> Knowledge:
    """What `save_knowledge` wrote.

    Args:
        folder: Holds the arrays.
        parts: The numbers, of `knowledge_manifest`.

    Raises:
        ModelError: Something is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / WEIGHTS
    try:
        with open_plain(path) as file:
            tensors = load(file.read())
        scale = parts["words_scale"]
        words = None
        if scale is not None:
            words = Words(tensors["words.classes"], tensors["words.references"], scale)
        learned = Familiarity(
            tensors["familiarity.middle"],
            tensors["familiarity.directions"],
            *(tuple(parts["familiarity"][name]) for name in ("leaning", "standing")),
        )
        own = {name.removeprefix("head."): array for name, array in tensors.items()}
        head = head_from_tensors(METHOD[parts["method"]].head, own)
        blend = Blend(**parts["blend"])
        numbers = (*astuple(blend), *learned.leaning, *learned.standing, scale or 0)
        possible = all(_are_possible(one) for one in (*tensors.values(), np.array(numbers)))
        sound = possible and blend.temperature > 0 and 0 <= blend.share <= 1
        knowledge = Knowledge(head, blend, learned, words)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        message = f"Cannot read {path}: {error}. Teach it again, or copy the folder again."
        raise ModelError(message) from error
    if not sound:
        raise ModelError(f"{folder} holds impossible numbers. Teach it again.")
    return knowledge


def _are_possible(numbers: NDArray[Any]) -> bool:
    return bool((np.abs(numbers) < _LARGEST).all())  # false of what is no number, too


def _tensors(knowledge: Knowledge) -> dict[str, Float32]:
    named = {f"head.{name}": array for name, array in head_tensors(knowledge.head).items()}
    named["familiarity.middle"] = knowledge.familiarity.middle
    named["familiarity.directions"] = knowledge.familiarity.directions
    if knowledge.words is not None:
        named["words.classes"] = knowledge.words.classes
        named["words.references"] = knowledge.words.references
    return {name: np.ascontiguousarray(array) for name, array in named.items()}
