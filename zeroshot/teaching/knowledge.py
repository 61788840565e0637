"""All that a taught classifier computes with, in memory and on disk."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ModelError
from runtime.logits import FloatArray, log_softmax
from runtime.plain_files import open_plain
from zeroshot.teaching.blend import Blend
from zeroshot.teaching.familiarity import Familiarity
from zeroshot.teaching.heads import AnyHead, Float32, head_from_tensors, head_tensors
from zeroshot.teaching.methods import METHOD
from zeroshot.teaching.words import Words

WEIGHTS = "taught.safetensors"
_LARGEST = 1e9  # that an honest weight may be


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
