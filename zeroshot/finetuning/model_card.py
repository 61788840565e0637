"""The README of a fine-tuned classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NAMED = 40
"""Classes that are listed by name."""
_BASELINES = {
    "majority": "the commonest class, every time",
    "zero_shot": "the same model by class names alone",
    "linear_probe": "logistic regression on the pretrained features",
}


def model_card(manifest: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Tell what it is, how good it is, what it must beat, and how it is used.

    Args:
        manifest: What `footwork.json` holds.
        notes: On the images, one sentence each.
    """
    labels, data, model = manifest["labels"], manifest["data"], manifest["model"]
    rows = ", ".join(f"{count} {name}" for name, count in data["rows"].items())
    listed = ", ".join(labels[:_NAMED]) + (" …" if len(labels) > _NAMED else "")
    base = model["id"] + (f" at {model['revision']}" if model["revision"] else "")
    lines = [
        *("---", "library_name: transformers", "pipeline_tag: image-classification", "---", ""),
        f"# {Path(data['path']).name}: {len(labels)} classes of images",
        "",
        f"{base}, fine-tuned by `{manifest['method']}` on {rows} images."
        + (f" {manifest['head']['note']}" if manifest["head"]["note"] else ""),
        "",
        f"Classes: {listed}.",
        "",
        f"## On the {manifest['evaluated_on']} images",
        "",
        "| | value | 95 % interval |",
        "|---|---|---|",
        *(_metric_row(name, each) for name, each in manifest["metrics"].items()),
        *(
            _metric_row(f"accuracy of {_BASELINES[name]}", each["accuracy"])
            for name, each in manifest["baselines"].items()
        ),
        "",
        _calibration_line(manifest["calibration"]),
        *(f"- {note}" for note in notes),
        "",
        "## Use",
        "",
        "```python",
        "from zeroshot import FinetunedClassifier",
        "",
        'FinetunedClassifier.load("THIS_FOLDER").predict([Path("photo.jpg")])',
        "```",
        "",
    ]
    return "\n".join(lines)


def _metric_row(name: str, interval: Mapping[str, float]) -> str:
    return (
        f"| {name.replace('_', ' ')} | {interval['value']:.3f} "
        f"| {interval['low']:.3f} – {interval['high']:.3f} |"
    )


def _calibration_line(calibration: Mapping[str, Any]) -> str:
    bar = calibration["abstain_below"]
    threshold = (
        "no threshold can be trusted to make 95 % of the answers right"
        if bar is None
        else f"from a probability of {bar:.3f} on, 95 % of the answers are right"
    )
    return f"Probabilities are those of logits / {calibration['temperature']:.3f}; {threshold}.\n"
