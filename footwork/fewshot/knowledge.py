"""All that a taught classifier computes with, in memory and on disk: words and examples."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import DoubleArray
from footwork.errors import ConfigError, ModelError
from footwork.evaluation.logits import log_softmax
from footwork.fewshot.blend import Blend
from footwork.fewshot.familiarity import Familiarity
from footwork.fewshot.heads import AnyHead, Float32, head_from_tensors, head_tensors
from footwork.fewshot.methods import METHODS
from footwork.files.plain_files import open_plain
from footwork.prompts.none_of_these import z_scores

WEIGHTS = "taught.safetensors"
_LARGEST = 1e9  # that an honest weight may be


@dataclass(frozen=True, slots=True)
class Words:
    """Class names and reference prompts, embedded."""

    classes: Float32
    """Shape (C, D), unit rows."""
    references: Float32
    """Shape (R, D), unit rows, of words that have nothing to do with the classes."""
    scale: float
    """What the model multiplies cosines by."""

    def logits(self, embeddings: NDArray[Any]) -> DoubleArray:
        """Zero-shot logits, (N, C), of embeddings (N, D)."""
        return self.scale * _cosines(embeddings, self.classes)

    def z_scores(self, embeddings: NDArray[Any]) -> DoubleArray:
        """How far the best class name stands above the reference prompts, (N,)."""
        cosines = _cosines(embeddings, self.classes), _cosines(embeddings, self.references)
        return z_scores(*cosines).max(axis=1)


def _cosines(embeddings: NDArray[Any], rows: Float32) -> DoubleArray:
    cosines: DoubleArray = embeddings.astype(np.float64) @ rows.T.astype(np.float64)
    return cosines


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When no label is given."""

    abstain_below: float | None = None
    """Probability of the best class; None never abstains."""
    familiar_from: float | None = None
    """Familiarity, 0 for a usual example and less for a stranger one; None takes any input."""

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
    """What is thought of N inputs, before a label is given."""

    probabilities: DoubleArray
    """Shape (N, C)."""
    familiarities: DoubleArray
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
        of_words = None if self.words is None else self.words.z_scores(embeddings)
        logits = self.blend.logits(words, self.head.scores(embeddings))
        return Answers(np.exp(log_softmax(logits)), self.familiarity.scores(embeddings, of_words))


def knowledge_manifest(method: str, knowledge: Knowledge) -> dict[str, Any]:
    """The numbers of `Knowledge` that JSON holds; arrays go to the weights.

    The first version wrote a factor `temperature` in place of the divisor `softmax_temperature`,
    and `standing` in place of `z_score`: `read_knowledge` takes both.
    """
    familiarity, blend = knowledge.familiarity, asdict(knowledge.blend)
    blend["softmax_temperature"] = blend.pop("temperature")
    return {
        "method": method,
        "blend": blend,
        "familiarity": {name: list(getattr(familiarity, name)) for name in ("leaning", "z_score")},
        "words_scale": None if knowledge.words is None else knowledge.words.scale,
    }


def save_knowledge(folder: Path, knowledge: Knowledge) -> None:
    """Write the arrays into a folder that exists."""
    from safetensors.numpy import save_file

    tensors = {f"head.{name}": array for name, array in head_tensors(knowledge.head).items()}
    tensors["familiarity.middle"] = knowledge.familiarity.middle
    tensors["familiarity.directions"] = knowledge.familiarity.directions
    if knowledge.words is not None:
        tensors["words.classes"] = knowledge.words.classes
        tensors["words.references"] = knowledge.words.references
    ordered = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(ordered, folder / WEIGHTS)


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
        scale, words = parts["words_scale"], None
        if scale is not None:
            words = Words(tensors["words.classes"], tensors["words.references"], scale)
        learned = dict(parts["familiarity"])
        z_score = learned["z_score"] if "z_score" in learned else learned["standing"]
        familiarity = Familiarity(
            tensors["familiarity.middle"],
            tensors["familiarity.directions"],
            tuple(learned["leaning"]),
            tuple(z_score),
        )
        own = {name.removeprefix("head."): array for name, array in tensors.items()}
        head = head_from_tensors(METHODS[parts["method"]].head, own)
        numbers = dict(parts["blend"])
        factor = numbers.pop("temperature", None)
        divisor = numbers.pop("softmax_temperature") if factor is None else 1.0 / factor
        blend = Blend(**numbers, temperature=divisor)
        moments = (*familiarity.leaning, *familiarity.z_score)
        stated = np.array((*astuple(blend), 1.0 / divisor, *moments, scale or 0.0))
        # False of what is no number, too.
        possible = all((np.abs(array) < _LARGEST).all() for array in (*tensors.values(), stated))
        sound = possible and blend.temperature > 0 and 0 <= blend.share <= 1
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        message = f"Cannot read {path}: {error}. Teach it again, or copy the folder again."
        raise ModelError(message) from error
    if not sound:
        raise ModelError(f"{folder} holds impossible numbers. Teach it again.")
    return Knowledge(head, blend, familiarity, words)
