"""From embedded examples to a classifier and what it is worth; no file is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from footwork.evaluation.calibration import Abstention
from footwork.evaluation.metrics import Interval
from footwork.fewshot.estimate import Trial, try_method, zero_shot_accuracy
from footwork.fewshot.examples import Examples, leave_one_out, same_pictures
from footwork.fewshot.familiarity import familiarity_bar, learn_familiarity
from footwork.fewshot.knowledge import Knowledge, Thresholds, Words
from footwork.fewshot.methods import METHOD
from footwork.fewshot.options import METHODS, TeachOptions
from footwork.files.faults import shortened

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned from N examples."""

    examples: Examples
    pictures: NDArray[np.int64]
    """Shape (N,): rows of one number show one picture."""
    knowledge: Knowledge
    trial: Trial
    """Of the method that was chosen."""
    others: tuple[Trial, ...]
    """Of the other methods, where they are compared."""
    zero_shot: Interval | None
    """Accuracy of the words alone on the same examples; None where there are none."""
    abstention: Abstention | None
    thresholds: Thresholds


def learn(examples: Examples, words: Words | None, options: TeachOptions) -> Lesson:
    """Learn from examples.

    Args:
        examples: N, at least one of each class.
        words: The class names, embedded; None leaves the examples alone.
        options: How.
    """
    pictures = same_pictures(examples.embeddings)
    logits = None if words is None else words.logits(examples.embeddings)
    standing = None if words is None else words.standing(examples.embeddings)
    names = (options.method, *(name for name in METHODS if name != options.method))
    trials = [
        try_method(name, examples, pictures, logits, options)
        for name in (names if options.compare else names[:1])
    ]
    head = METHOD[options.method].fit_all(examples, options.seed)[trials[0].blend.setting]
    familiarity, familiarities = learn_familiarity(examples, leave_one_out(pictures), standing)
    wanted, refused = options.target_accuracy, options.refused
    abstention = None if wanted is None else trials[0].abstention(wanted)
    return Lesson(
        examples,
        pictures,
        Knowledge(head, trials[0].blend, familiarity, words),
        trials[0],
        tuple(trials[1:]),
        None if logits is None else zero_shot_accuracy(logits, examples.labels, pictures),
        abstention,
        Thresholds(
            abstain_below=abstention.threshold if abstention else None,
            familiar_from=None if refused is None else familiarity_bar(familiarities, refused),
        ),
    )


def lesson_notes(
    lesson: Lesson, class_names: Sequence[str], files: Sequence[str], options: TeachOptions
) -> tuple[str, ...]:
    """What the user should know, one sentence each.

    Args:
        lesson: Of N examples.
        class_names: C.
        files: N names of files.
        options: Of the lesson.
    """
    notes = [*_copies(lesson, class_names, files), *_single(lesson, class_names)]
    trial = lesson.trial
    if lesson.knowledge.words is not None and options.words is None and not trial.blend.share:
        notes.append(
            f"The class names get no weight: {len(lesson.examples)} examples do not show them to "
            "be better than chance. A `words` of 0.5 would give them half of it."
        )
    if options.target_accuracy is not None and lesson.abstention is None and trial.judged.any():
        notes.append(
            f"{int(trial.judged.sum())} examples do not show a probability from which "
            f"{options.target_accuracy:.0%} of the labels are right, so none is withheld as unsure."
        )
    notes.extend(_doubted(trial, class_names, files))
    return tuple(notes)


def _copies(lesson: Lesson, class_names: Sequence[str], files: Sequence[str]) -> list[str]:
    copies = [fold for fold in leave_one_out(lesson.pictures) if len(fold) > 1]
    if not copies:
        return []
    labels = lesson.examples.labels
    notes = [
        f"{sum(map(len, copies))} examples show {len(copies)} pictures more than once (near enough "
        "to be copies); copies are left out together, or the forecast would be too good."
    ]
    mixed = [fold for fold in copies if len(set(labels[fold].tolist())) > 1]
    for fold in mixed[:_LISTED]:
        named = ", ".join(f"{files[row]} ({class_names[labels[row]]})" for row in fold)
        notes.append(f"One picture has several labels: {named}. Keep the right one.")
    if len(mixed) > _LISTED:
        notes.append(f"{len(mixed) - _LISTED} more pictures have several labels.")
    return notes


def _single(lesson: Lesson, class_names: Sequence[str]) -> list[str]:
    alone = np.unique(lesson.examples.labels[~lesson.trial.judged])
    if not len(alone):
        return []
    if not lesson.trial.judged.any():
        said = "nothing tells what the examples add"
        if lesson.zero_shot is not None:
            said += ": the accuracy of zero-shot is the best guess, and the words weigh most"
        return [f"Each class has one example, so {said}. Two a class are the least for a forecast."]
    named = shortened((class_names[label] for label in alone), _LISTED)
    judged = "are judged by the words alone" if lesson.zero_shot else "are not judged"
    return [f"Classes with one example ({named}) {judged} in the forecast. Give them a second."]


def _doubted(trial: Trial, class_names: Sequence[str], files: Sequence[str]) -> list[str]:
    doubted = trial.mistaken()
    notes = [
        f"{files[row]} is labelled {class_names[trial.labels[row]]}, but the other examples say "
        f"{class_names[label]} ({probability:.0%}). Look at it."
        for row, label, probability in doubted[:_LISTED]
    ]
    if len(doubted) > _LISTED:
        notes.append(f"{len(doubted) - _LISTED} more labels are doubted.")
    return notes
