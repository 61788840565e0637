"""What to expect of a classifier, by examples that it did not know; and what to label next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from footwork.arrays import BoolArray, DoubleArray, IntArray, RealArray
from footwork.evaluation.calibration import Abstention, abstention_threshold
from footwork.evaluation.logits import log_softmax
from footwork.evaluation.metrics import Interval, confusion_counts, wilson_interval
from footwork.evaluation.text import confused_pairs
from footwork.fewshot.blend import Blend, HeldOut, choose_blend
from footwork.fewshot.examples import Examples, make_folds
from footwork.fewshot.methods import METHODS, LearnOptions, Setting

_HALF_KNOWN = 3.0
"""Examples a class with which half of the squared log-odds above chance are reached: a class mean
of n examples is off by 1 / n of what varies within the class. On photographs, news and digits (1 to
40 examples a class) 2.8 to 10 fitted best, the least where examples are few and it matters."""
_Z = 1.96  # normal quantile of a 95 % interval
_REFITTED, _FEW = 0.8, 1.0
"""By how much the variance of the forecast exceeds that of counting hits, at any number of examples
and with one a class: the classifiers that judge share examples, and are not the one that is saved.
Found on draws from the same sets; so 95 % of the intervals held what came true."""
_CELLS = 200_000_000
"""Rows times width times classes over all folds: where there are more, fewer folds take seconds."""
_MOST_CONFUSIONS = 5
_MISTAKEN = 0.9  # probability of another class from which an example's own label is doubted


@dataclass(frozen=True, slots=True)
class Trial:
    """A method with its settings chosen, and the answers to examples that were left out."""

    method: str
    setting: Setting
    blend: Blend
    logits: DoubleArray
    """Shape (N, C), each row by a classifier and a blend that did not know it; NaN where an
    example was alone of its class and there are no words."""
    labels: IntArray
    judged: BoolArray
    """Shape (N,): the class had another example. The others are judged by the words."""
    groups: IntArray  # (N,): rows of one number are copies
    folds: int
    """Classifiers that were fitted."""

    @property
    def answered(self) -> BoolArray:
        """Rows that anything is known of, (N,)."""
        return np.isfinite(self.logits[:, 0])

    @property
    def hits(self) -> BoolArray:
        """Whether the answer was right, (N,)."""
        return (self.logits.argmax(axis=1) == self.labels) & self.answered

    @property
    def accuracy(self) -> Interval | None:
        """Expected on new inputs of the kind; None where no example is judged.

        The classifier that is saved knows more examples than those that judged them, so as much is
        added as that is worth.
        """
        if not self.judged.any():
            return None
        rows, num_classes = self.answered, self.logits.shape[1]
        per_class = len(np.unique(self.groups)) / num_classes
        known = per_class * (self.folds - 1) / self.folds
        fitted = 1.0 - self.blend.share  # words do not learn
        variance = 1.0 + fitted * (_REFITTED + _FEW / per_class)
        share = share_of_hits(self.hits[rows], self.groups[rows], _Z * float(np.sqrt(variance)))
        growth = (_reached(per_class) / _reached(known)) ** fitted
        return Interval(*(_grown(value, 1.0 / num_classes, growth) for value in astuple(share)))

    def probabilities(self) -> DoubleArray:
        """Of the rows, (N, C)."""
        return np.exp(log_softmax(self.logits))

    def abstention(self, target_accuracy: float) -> Abstention | None:
        """The probability from which a share of the labels is right, if so many examples tell.

        Copies of an input tell no more than one of them does.
        """
        rows = np.flatnonzero(self.answered & self.judged)
        if not len(rows):
            return None
        rows = rows[np.unique(self.groups[rows], return_index=True)[1]]
        top = self.probabilities()[rows].max(axis=1)
        return abstention_threshold(top, self.hits[rows], target_accuracy)

    def recalls(self) -> list[float | None]:
        """Share of each class that was found, C; None for one of which nothing is known."""
        rows, num_classes = self.answered, self.logits.shape[1]
        hits = np.bincount(self.labels[rows], self.hits[rows], minlength=num_classes).tolist()
        counts = np.bincount(self.labels[rows], minlength=num_classes).tolist()
        return [hit / count if count else None for hit, count in zip(hits, counts, strict=True)]

    def confusions(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """The commonest errors: of which class, taken for which, how often."""
        rows = self.answered
        taken = self.logits[rows].argmax(axis=1)
        table = confusion_counts(self.labels[rows], taken, len(class_names))
        return [
            {"class": true, "taken_for": other, "examples": count}
            for true, other, count in confused_pairs(class_names, table, _MOST_CONFUSIONS)
        ]

    def mistaken(self) -> list[tuple[int, int, float]]:
        """Examples that all others take for another class: row, class, probability."""
        probabilities = self.probabilities()
        best, labels = probabilities.max(axis=1), probabilities.argmax(axis=1)
        rows = np.nonzero(self.answered & self.judged & ~self.hits & (best >= _MISTAKEN))[0]
        order = sorted(rows.tolist(), key=lambda row: -best[row])
        return [(row, int(labels[row]), float(best[row])) for row in order]

    def to_dict(self) -> dict[str, Any]:
        """The forecast, and what was chosen for it, as JSON takes it."""
        name = METHODS[self.method].setting_name
        return {
            "name": self.method,
            "accuracy": self.accuracy.to_dict() if self.accuracy else None,
            "words_share": self.blend.share,
            "setting": {name: self.setting} if name else {},
            "classifiers": self.folds,
        }


def try_method(
    name: str,
    examples: Examples,
    groups: IntArray,
    words: DoubleArray | None,
    options: LearnOptions,
) -> Trial:
    """Choose a method's settings on N examples left out, and judge each without it.

    `groups`, (N,), are those of `group_copies`; `words`, (N, C), zero-shot logits, if there are
    any.
    """
    method = METHODS[name]
    cells = examples.embeddings.size * examples.num_classes
    folds = make_folds(examples, groups, min(method.most_folds, max(3, _CELLS // cells)))
    scores = method.held_out_scores(examples, folds, options.seed)
    together = np.zeros(len(examples), dtype=np.int64)
    for number, fold in enumerate(folds):
        together[fold] = number
    judged = np.isfinite(scores[0, np.arange(len(examples)), examples.labels])
    if not judged.any():
        # One example a class: only how far scores spread can be told, and not of two classes.
        heads = method.fit_all(examples, options.seed)
        scores = np.stack([head.scores(examples.embeddings) for head in heads])
    held_out = HeldOut(examples.labels, words, scores, judged, together, groups)
    blend, logits = choose_blend(held_out, options.words)
    return Trial(
        method=name,
        setting=method.settings[blend.setting],
        blend=blend,
        logits=logits,
        labels=examples.labels,
        judged=judged,
        groups=groups,
        folds=len(folds),
    )


def share_of_hits(hits: BoolArray, groups: IntArray, z: float = _Z) -> Interval:
    """Share of hits; copies of an input tell no more than one of them does."""
    rows = len(np.unique(groups))
    return wilson_interval(float(hits.mean()) * rows, rows, z)


def _reached(per_class: float) -> float:
    """Part of the log-odds above chance that so many examples reach."""
    return float(np.sqrt(per_class / (per_class + _HALF_KNOWN)))


def _grown(accuracy: float, chance: float, factor: float) -> float:
    """Multiply the log-odds that an accuracy has above chance."""
    if not chance < accuracy < 1.0:
        return accuracy
    floor = np.log(chance / (1.0 - chance))
    odds = np.exp(floor + (np.log(accuracy / (1.0 - accuracy)) - floor) * factor)
    return float(odds / (1.0 + odds))


def forecast_text(forecast: dict[str, Any], thresholds: dict[str, Any], inputs: str) -> str:
    """The forecast of `Lesson.forecast` in words, for people.

    `thresholds` are `abstain_below` and `familiar_from` of the manifest; `inputs` what they are,
    such as "images".
    """
    chosen = forecast["method"]
    accuracies = {chosen["name"]: chosen["accuracy"], "zero-shot": forecast["zero_shot"]}
    accuracies |= {name: other["accuracy"] for name, other in forecast["others"].items()}
    lines = [f"Expected accuracy on new {inputs} of the kind (95 % interval):"]
    for name, accuracy in accuracies.items():
        said = "not known"
        if accuracy is not None:
            said = f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})"
        lines.append(f"  {name:<13} {said}")
    if forecast["judged"]:
        lines.append(
            f"Each of {forecast['judged']} examples was judged by a classifier that did not know "
            "it, its settings included; what it would know with them is added."
        )
    share = chosen["words_share"]
    settings = [f"words {share:.0%}, examples {1 - share:.0%}"] + [
        f"{key} {value if isinstance(value, str) else format(value, 'g')}"
        for key, value in chosen["setting"].items()
    ]
    lines.append(f"Chosen: {', '.join(settings)}.")
    if (abstention := forecast["abstention"]) is not None:
        lines.append(
            f"No label below probability {thresholds['abstain_below']:.2f}: "
            f"{abstention['coverage']:.0%} get one, and of these {abstention['accuracy']:.1%} "
            "are right."
        )
    if thresholds["familiar_from"] is not None:
        lines.append(
            f"No label for {inputs} less familiar than "
            f"{thresholds['familiar_from']:.2f} (0 is a usual example)."
        )
    recalls = {name: r for name, r in forecast["class_recall"].items() if r is not None and r < 1}
    if recalls:
        weakest = sorted(recalls.items(), key=lambda item: item[1])[:3]
        named = ", ".join(f"{name} ({recall:.0%} found)" for name, recall in weakest)
        lines.append(f"More examples help most in: {named}.")
    if forecast["confusions"]:
        named = "; ".join(
            f"{error['class']} taken for {error['taken_for']} {error['examples']}×"
            for error in forecast["confusions"]
        )
        lines.append(f"Commonest errors: {named}.")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Candidates:
    """M inputs without a label, as the taught classifier sees them."""

    embeddings: RealArray  # (M, D), unit rows
    probabilities: DoubleArray  # (M, C)
    unfamiliar: BoolArray  # (M,), whether it is like none of the classes


def suggest(
    candidates: Candidates, known: RealArray, class_names: Sequence[str], count: int
) -> list[tuple[int, str]]:
    """Choose inputs that the classifier is unsure of, and that differ from what it has seen.

    One after the other, the largest product of the two: how small the lead of the first class over
    the second is, and how far, in cosine, the nearest example or earlier choice. Uncertainty alone
    would name ten views of one thing; distance alone (k-center, Sener and Savarese 2018,
    arXiv:1708.00489) would name what is of no class.

    Args:
        candidates: M inputs.
        known: Shape (N, D), unit rows, of the examples.
        class_names: C.
        count: How many, at most.

    Returns:
        The number of each, and a clause that says why.
    """
    embeddings, probabilities = candidates.embeddings, candidates.probabilities
    best = np.sort(probabilities, axis=1)[:, ::-1]
    unsure = 1.0 - (best[:, 0] - best[:, 1])
    nearest = np.full(len(embeddings), -1.0)
    for row in known:
        np.maximum(nearest, embeddings @ row, out=nearest)
    chosen: list[tuple[int, str]] = []
    free = np.ones(len(nearest), dtype=bool)
    for _ in range(min(count, len(nearest))):
        worth = np.where(free, unsure * np.maximum(1.0 - nearest, 0.0), -1.0)
        number = int(worth.argmax())
        if worth[number] <= 0.0:
            break
        free[number] = False
        np.maximum(nearest, embeddings @ embeddings[number], out=nearest)
        first, second = np.argsort(-probabilities[number], kind="stable")[:2].tolist()
        reason = " or ".join(
            f"{class_names[label]} ({probabilities[number, label]:.0%})"
            for label in (first, second)
        )
        if candidates.unfamiliar[number]:
            reason = f"like none of the classes; nearest to {class_names[first]}"
        chosen.append((number, reason))
    return chosen
