"""The README of a fine-tuned classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from footwork.finetuning.card import (
    PLACE,
    adapter_usage,
    needs_base,
    public_data_name,
    public_model_id,
    public_text,
)
from footwork.methods.table import METHODS, Adapter

_NAMED = 40
"""Classes that are listed by name."""
_USE = f"""## Use

```bash
footwork zeroshot label photos/ --taught {PLACE} -o labels.csv
```

```python
from pathlib import Path

from zeroshot import FinetunedClassifier

classifier = FinetunedClassifier.load("{PLACE}")
for answer in classifier.predict([Path("photo.jpg")]):
    print(answer.label, answer.score)
```"""
_PLAIN = f"""With transformers alone (whose scores are not calibrated):

```python
from transformers import pipeline

classify = pipeline("image-classification", model="{PLACE}")
print(classify("photo.jpg"))
```"""
_PLAIN_INSTEAD = (
    "`footwork zeroshot finetune --merge` makes a folder that needs nothing else, and that it does "
    "load."
)
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
    config = manifest["config"]
    adapter = None if config["merge"] else METHODS[manifest["method"]].adapter
    rows = ", ".join(f"{count} {name}" for name, count in data["rows"].items())
    listed = ", ".join(labels[:_NAMED]) + (" …" if len(labels) > _NAMED else "")
    public = public_model_id(model["id"])
    base = public or Path(model["id"]).name
    base += f" at {model['revision']}" if model["revision"] else ""
    lines = [
        "---",
        f"library_name: {adapter.library if adapter else 'transformers'}",
        "pipeline_tag: image-classification",
        *([f"base_model: {public}"] if public else []),
        *([f"base_model_relation: {'adapter' if adapter else 'finetune'}"] if public else []),
        "tags: [image-classification, footwork]",
        "---",
        "",
        f"# {public_data_name(data)}: {len(labels)} classes of images",
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
        *(f"- {public_text(note, data)}" for note in notes),
        "",
        _USE,
        "",
        _adapter(model, adapter) if adapter else _PLAIN,
        "",
    ]
    return "\n".join(lines)


def _adapter(model: Mapping[str, Any], adapter: Adapter) -> str:
    usage = adapter_usage(
        "image-classification", model["id"], model["revision"], '"photo.jpg"', adapter
    )
    return f"{needs_base(adapter, _PLAIN_INSTEAD)}\n\n{usage}".rstrip()


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
