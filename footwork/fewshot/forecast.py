"""The forecast: what to expect of a taught classifier before it labels its first new image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from footwork.evaluation.metrics import Interval
from footwork.fewshot.estimate import Trial
from footwork.fewshot.lesson import Lesson
from footwork.fewshot.methods import METHOD


def forecast_manifest(lesson: Lesson, class_names: Sequence[str]) -> dict[str, Any]:
    """All that examples left out tell, as JSON takes it.

    Args:
        lesson: Of N examples.
        class_names: C.
    """
    trial = lesson.trial
    recalls = trial.recalls(len(class_names))
    return {
        "method": trial_manifest(trial),
        "zero_shot": _interval(lesson.zero_shot),
        "others": {other.method: trial_manifest(other) for other in lesson.others},
        "class_recall": dict(zip(class_names, recalls, strict=True)),
        "confusions": trial.confusions(class_names),
        "abstention": asdict(lesson.abstention) if lesson.abstention else None,
        "examples": len(lesson.examples),
        "pictures": int(lesson.pictures.max()) + 1,
        "judged": int(trial.judged.sum()),
    }


def trial_manifest(trial: Trial) -> dict[str, Any]:
    """One method's forecast, and what was chosen for it."""
    name = METHOD[trial.method].setting_name
    return {
        "name": trial.method,
        "accuracy": _interval(trial.accuracy),
        "words_share": trial.blend.share,
        "setting": {name: trial.setting} if name else {},
        "classifiers": trial.folds,
    }


def forecast_text(forecast: dict[str, Any], thresholds: dict[str, Any]) -> str:
    """The forecast in words, for people.

    Args:
        forecast: Of `forecast_manifest`.
        thresholds: `abstain_below` and `familiar_from`, of the manifest.
    """
    chosen = forecast["method"]
    lines = ["Expected accuracy on new images of the kind (95 % interval):"]
    lines += [_row(chosen["name"], chosen["accuracy"]), _row("zero-shot", forecast["zero_shot"])]
    lines += [_row(name, other["accuracy"]) for name, other in forecast["others"].items()]
    lines.append(
        f"Each of {forecast['judged']} examples was judged by a classifier that did not know it, "
        "its settings included; what it would know with them is added."
    )
    settings = [
        f"{key} {value if isinstance(value, str) else format(value, 'g')}"
        for key, value in chosen["setting"].items()
    ]
    share = f"words {chosen['words_share']:.0%}, examples {1 - chosen['words_share']:.0%}"
    lines.append(f"Chosen: {', '.join([share, *settings])}.")
    lines += _doubt_lines(forecast["abstention"], thresholds)
    lines += _weakness_lines(forecast)
    return "\n".join(lines)


def _row(name: str, accuracy: dict[str, float] | None) -> str:
    if accuracy is None:
        return f"  {name:<13} not known"
    low, high = accuracy["low"], accuracy["high"]
    return f"  {name:<13} {accuracy['value']:.3f} ({low:.3f} to {high:.3f})"


def _doubt_lines(abstention: dict[str, Any] | None, thresholds: dict[str, Any]) -> list[str]:
    lines = []
    if abstention is not None:
        lines.append(
            f"No label below probability {thresholds['abstain_below']:.2f}: "
            f"{abstention['coverage']:.0%} get one, and of these {abstention['accuracy']:.1%} "
            "are right."
        )
    if thresholds["familiar_from"] is not None:
        lines.append(
            "No label for images less familiar than "
            f"{thresholds['familiar_from']:.2f} (0 is a usual example)."
        )
    return lines


def _weakness_lines(forecast: dict[str, Any]) -> list[str]:
    known = {name: r for name, r in forecast["class_recall"].items() if r is not None and r < 1}
    weakest = sorted(known.items(), key=lambda item: item[1])[:3]
    lines = []
    if weakest:
        named = ", ".join(f"{name} ({recall:.0%} found)" for name, recall in weakest)
        lines.append(f"More examples help most in: {named}.")
    if forecast["confusions"]:
        named = "; ".join(
            f"{each['class']} taken for {each['taken_for']} {each['examples']}×"
            for each in forecast["confusions"]
        )
        lines.append(f"Commonest errors: {named}.")
    return lines


def _interval(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else value.to_dict()
