"""All that a taught classifier computes with, words and examples: learned, in memory, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, IntArray, RealArray
from footwork.errors import ModelError, require_probability
from footwork.evaluation.calibration import Abstention
from footwork.evaluation.logits import log_softmax
from footwork.evaluation.metrics import Interval
from footwork.fewshot.blend import Blend
from footwork.fewshot.examples import Examples, group_copies, leave_one_out
from footwork.fewshot.familiarity import Familiarity, familiarity_threshold, learn_familiarity
from footwork.fewshot.forecast import Trial, share_of_hits, try_method
from footwork.fewshot.heads import AnyHead, head_from_tensors, head_tensors, products
from footwork.fewshot.methods import METHODS, LearnOptions
from footwork.files.faults import shortened
from footwork.files.plain_files import open_plain
from footwork.prompts.none_of_these import z_scores
from footwork.settings import Documented

WEIGHTS = "taught.safetensors"
_LARGEST = 1e9  # that an honest weight may be
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Words:
    """Class names and reference prompts, embedded."""

    classes: FloatArray  # (C, D), unit rows
    references: FloatArray  # (R, D), unit rows, of words that have nothing to do with the classes
    scale: float
    """What the model multiplies cosines by."""

    def logits(self, embeddings: RealArray) -> DoubleArray:
        """Zero-shot logits, (N, C), of embeddings (N, D)."""
        return self.scale * products(embeddings, self.classes)

    def z_scores(self, embeddings: RealArray) -> DoubleArray:
        """How far the best class name stands above the reference prompts, (N,)."""
        cosines = products(embeddings, self.classes), products(embeddings, self.references)
        return z_scores(*cosines).max(axis=1)


@dataclass(frozen=True, slots=True)
class Thresholds(Documented):
    """When no label is given."""

    abstain_below: float | None = None
    """Probability of the best class; None never abstains."""
    familiar_from: float | None = None
    """Familiarity, 0 for a usual example and less for a stranger one; None takes any input."""

    def __post_init__(self) -> None:
        require_probability("abstain_below", self.abstain_below)


@dataclass(frozen=True, slots=True)
class Answers:
    """What is thought of N inputs, before a label is given."""

    probabilities: DoubleArray  # (N, C)
    familiarities: DoubleArray  # (N,)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that a taught classifier computes with."""

    head: AnyHead
    blend: Blend
    familiarity: Familiarity
    words: Words | None

    def answers(self, embeddings: RealArray) -> Answers:
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
    """What `save_knowledge` wrote, and `knowledge_manifest` gave as `parts`.

    Where something is missing or damaged, a `ModelError`.
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


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned from N examples."""

    examples: Examples
    groups: IntArray  # (N,): rows of one number are copies
    knowledge: Knowledge
    trial: Trial
    """Of the method that was chosen."""
    others: tuple[Trial, ...]
    """Of the other methods, where they are compared."""
    zero_shot: Interval | None
    """Accuracy of the words alone on the same examples; None where there are none."""
    abstention: Abstention | None
    thresholds: Thresholds

    def forecast(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All that examples left out tell, as JSON takes it."""
        trial = self.trial
        return {
            "method": trial.to_dict(),
            "zero_shot": self.zero_shot.to_dict() if self.zero_shot else None,
            "others": {other.method: other.to_dict() for other in self.others},
            "class_recall": dict(zip(class_names, trial.recalls(), strict=True)),
            "confusions": trial.confusions(class_names),
            "abstention": asdict(self.abstention) if self.abstention else None,
            "examples": len(self.examples),
            "distinct_examples": int(self.groups.max()) + 1,
            "judged": int(trial.judged.sum()),
        }


def learn(examples: Examples, words: Words | None, options: LearnOptions) -> Lesson:
    """Learn from at least one example of each class, and from the class names unless None."""
    groups = group_copies(examples.embeddings)
    logits = None if words is None else words.logits(examples.embeddings)
    z_scores = None if words is None else words.z_scores(examples.embeddings)
    others = [name for name in METHODS if name != options.method] if options.compare else []
    trial, *compared = (
        try_method(name, examples, groups, logits, options) for name in (options.method, *others)
    )
    head = METHODS[options.method].fit_all(examples, options.seed)[trial.blend.setting]
    familiarity, familiarities = learn_familiarity(examples, leave_one_out(groups), z_scores)
    once = np.unique(groups, return_index=True)[1]
    target, refused = options.target_accuracy, options.refused
    abstention = None if target is None else trial.abstention(target)
    zero_shot: Interval | None = None
    if logits is not None:
        zero_shot = share_of_hits(logits.argmax(axis=1) == examples.labels, groups)
    return Lesson(
        examples=examples,
        groups=groups,
        knowledge=Knowledge(head, trial.blend, familiarity, words),
        trial=trial,
        others=tuple(compared),
        zero_shot=zero_shot,
        abstention=abstention,
        thresholds=Thresholds(
            abstention.threshold if abstention else None,
            None if refused is None else familiarity_threshold(familiarities[once], refused),
        ),
    )


def lesson_notes(
    lesson: Lesson,
    class_names: Sequence[str],
    names: Sequence[str],
    options: LearnOptions,
    input_name: str,
) -> tuple[str, ...]:
    """What the user should know of a lesson of N examples in C classes, one sentence each.

    `names` are those of the examples, such as files'; `input_name` is what one is, such as "image".
    """
    trial, labels = lesson.trial, lesson.examples.labels
    labelled = [f"{name} ({class_names[n]})" for name, n in zip(names, labels, strict=True)]
    notes = _copies(lesson, labelled, input_name)
    alone = np.unique(labels[~trial.judged]).tolist()
    if alone and not trial.judged.any():
        known = "nothing tells what the examples add"
        if lesson.zero_shot is not None:
            known += ": the accuracy of zero-shot is the best guess, and the words weigh most"
        notes.append(
            f"Each class has one example, so {known}. Two a class are the least for a forecast."
        )
    elif alone:
        named = shortened((class_names[label] for label in alone), _LISTED)
        judged = "are judged by the words alone" if lesson.zero_shot else "are not judged"
        notes.append(
            f"Classes with one example ({named}) {judged} in the forecast. Give them a second."
        )
    if lesson.knowledge.words is not None and options.words is None and not trial.blend.share:
        notes.append(
            f"The class names get no weight: {len(labels)} examples do not show that they help. "
            "A `words` of 0.5 would give them half of it."
        )
    told = len(np.unique(lesson.groups[trial.judged]))
    if options.target_accuracy is not None and lesson.abstention is None and told:
        notes.append(
            f"{told} examples do not show a probability from which "
            f"{options.target_accuracy:.0%} of the labels are right, so none is withheld as unsure."
        )
    least = 1 + told
    if lesson.thresholds.familiar_from is not None and least * (options.refused or 1) < 1:
        notes.append(
            f"{least - 1} examples are too few to take only {options.refused:.0%} of the "
            f"{input_name}s of these classes for none of them: it may be 1 in {least}. A `refused` "
            "of `none` takes none for that."
        )
    doubted = trial.mistaken()
    notes += [
        f"{names[row]} is labelled {class_names[labels[row]]}, but the other examples say "
        f"{class_names[label]} ({probability:.0%}). Look at it."
        for row, label, probability in doubted[:_LISTED]
    ]
    if len(doubted) > _LISTED:
        notes.append(f"{len(doubted) - _LISTED} more labels are doubted.")
    return tuple(notes)


def _copies(lesson: Lesson, labelled: Sequence[str], input_name: str) -> list[str]:
    copies = [fold for fold in leave_one_out(lesson.groups) if len(fold) > 1]
    if not copies:
        return []
    notes = [
        f"{sum(map(len, copies))} examples show {len(copies)} {input_name}s more than once (near "
        "enough to be copies); copies are left out together, or the forecast would be too good."
    ]
    mixed = [fold for fold in copies if len(set(lesson.examples.labels[fold].tolist())) > 1]
    for fold in mixed[:_LISTED]:
        named = ", ".join(labelled[row] for row in fold)
        notes.append(f"One {input_name} has several labels: {named}. Keep the right one.")
    if len(mixed) > _LISTED:
        notes.append(f"{len(mixed) - _LISTED} more {input_name}s have several labels.")
    return notes
