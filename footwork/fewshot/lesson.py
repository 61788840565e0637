"""From embedded examples to a classifier and what it is worth; no file is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from footwork.arrays import IntArray
from footwork.evaluation.calibration import Abstention
from footwork.evaluation.metrics import Interval
from footwork.fewshot.examples import Examples, group_copies, leave_one_out
from footwork.fewshot.familiarity import familiarity_threshold, learn_familiarity
from footwork.fewshot.forecast import Trial, try_method, zero_shot_accuracy
from footwork.fewshot.knowledge import Knowledge, Thresholds, Words
from footwork.fewshot.methods import METHODS, LearnOptions
from footwork.files.faults import shortened

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned from N examples."""

    examples: Examples
    groups: IntArray
    """Shape (N,): rows of one number are copies."""
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
    """Learn from examples.

    Args:
        examples: N, at least one of each class.
        words: The class names, embedded; None leaves the examples alone.
        options: How.
    """
    groups = group_copies(examples.embeddings)
    logits = None if words is None else words.logits(examples.embeddings)
    z_scores = None if words is None else words.z_scores(examples.embeddings)
    others = [name for name in METHODS if name != options.method] if options.compare else []
    trial, *compared = (
        try_method(name, examples, groups, logits, options) for name in (options.method, *others)
    )
    head = METHODS[options.method].fit_all(examples, options.seed)[trial.blend.setting]
    familiarity, familiarities = learn_familiarity(examples, leave_one_out(groups), z_scores)
    target, refused = options.target_accuracy, options.refused
    abstention = None if target is None else trial.abstention(target)
    return Lesson(
        examples=examples,
        groups=groups,
        knowledge=Knowledge(head, trial.blend, familiarity, words),
        trial=trial,
        others=tuple(compared),
        zero_shot=None if logits is None else zero_shot_accuracy(logits, examples.labels, groups),
        abstention=abstention,
        thresholds=Thresholds(
            abstain_below=abstention.threshold if abstention else None,
            familiar_from=None
            if refused is None
            else familiarity_threshold(familiarities, refused),
        ),
    )


def lesson_notes(
    lesson: Lesson,
    class_names: Sequence[str],
    names: Sequence[str],
    options: LearnOptions,
    input_name: str,
) -> tuple[str, ...]:
    """What the user should know, one sentence each.

    Args:
        lesson: Of N examples.
        class_names: C.
        names: N names of the examples, such as those of files.
        options: Of the lesson.
        input_name: What an example is, such as "image".
    """
    trial, examples = lesson.trial, lesson.examples
    notes = _copies(lesson, class_names, names, input_name)
    alone = np.unique(examples.labels[~trial.judged]).tolist()
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
            f"The class names get no weight: {len(examples)} examples do not show them to "
            "be better than chance. A `words` of 0.5 would give them half of it."
        )
    if options.target_accuracy is not None and lesson.abstention is None and trial.judged.any():
        notes.append(
            f"{int(trial.judged.sum())} examples do not show a probability from which "
            f"{options.target_accuracy:.0%} of the labels are right, so none is withheld as unsure."
        )
    doubted = trial.mistaken()
    notes += [
        f"{names[row]} is labelled {class_names[trial.labels[row]]}, but the other examples say "
        f"{class_names[label]} ({probability:.0%}). Look at it."
        for row, label, probability in doubted[:_LISTED]
    ]
    if len(doubted) > _LISTED:
        notes.append(f"{len(doubted) - _LISTED} more labels are doubted.")
    return tuple(notes)


def _copies(
    lesson: Lesson, class_names: Sequence[str], names: Sequence[str], input_name: str
) -> list[str]:
    copies = [fold for fold in leave_one_out(lesson.groups) if len(fold) > 1]
    if not copies:
        return []
    labels = lesson.examples.labels
    notes = [
        f"{sum(map(len, copies))} examples show {len(copies)} {input_name}s more than once (near "
        "enough to be copies); copies are left out together, or the forecast would be too good."
    ]
    mixed = [fold for fold in copies if len(set(labels[fold].tolist())) > 1]
    for fold in mixed[:_LISTED]:
        named = ", ".join(f"{names[row]} ({class_names[labels[row]]})" for row in fold)
        notes.append(f"One {input_name} has several labels: {named}. Keep the right one.")
    if len(mixed) > _LISTED:
        notes.append(f"{len(mixed) - _LISTED} more {input_name}s have several labels.")
    return notes
