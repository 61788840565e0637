"""What the card of a published model says: how it is loaded, and no path of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footwork.methods.table import Adapter

PLACE = "path/to/this/folder"
"""What a card calls its folder; an upload puts the repository in its place."""
_ADAPTER_USAGE = """With transformers and peft alone (whose scores are not calibrated):

```python
from peft import PeftModel
from transformers import AutoConfig, {auto_class}, {preparing}, pipeline

config = AutoConfig.from_pretrained("{place}")
base = {auto_class}.from_pretrained(
    "{base}", revision={revision}, config=config, ignore_mismatched_sizes=True, dtype="float32"
)
model = PeftModel.from_pretrained(base, "{place}").merge_and_unload()
{part} = {preparing}.from_pretrained("{place}")
classify = pipeline("{task}", model=model, {part}={part})
print(classify({example}))
```"""


def needs_base(adapter: Adapter, instead: str) -> str:
    """What a folder is that is an adapter.

    Args:
        adapter: Of the method.
        instead: How a folder is made that needs no base, if it can be.
    """
    said = (
        "The folder is an adapter: it needs its base model, and `pipeline` alone does not load it."
    )
    return f"{said} {instead}" if adapter.merges else said


def adapter_usage(
    task: str, model_id: str, revision: str | None, example: str, adapter: Adapter
) -> str:
    """How an adapter is loaded without Footwork; nothing where its base is on one machine alone.

    A plain `pipeline` loads none: a configuration beside the adapter makes transformers look for
    all weights there, and without one the head is built for the labels of the base.

    Args:
        task: A task of `pipeline`, of texts or images.
        model_id: Of the base.
        revision: Commit of the base on the Hub.
        example: What the classifier is asked, as Python.
        adapter: Of the method; only peft's can be loaded so.
    """
    if adapter.library != "peft" or (base := public_model_id(model_id)) is None:
        return ""
    texts = task == "text-classification"
    return _ADAPTER_USAGE.format(
        auto_class=f"AutoModelFor{'Sequence' if texts else 'Image'}Classification",
        preparing="AutoTokenizer" if texts else "AutoImageProcessor",
        part="tokenizer" if texts else "image_processor",
        place=PLACE,
        base=base,
        revision=f'"{revision}"' if revision else None,
        task=task,
        example=example,
    )


def public_model_id(model_id: str) -> str | None:
    """Return a Hub id, or None for what only this machine has: a folder, a preset, `tiny`."""
    # Old ids have no owner: bert-base-uncased; presets are single words.
    hub_like = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*|\w+-[\w.-]+", model_id)
    return model_id if hub_like and not is_local(model_id) else None


def is_local(model_id: str) -> bool:
    """Whether a base, presets apart, is a folder of this machine or `tiny`."""
    folder = Path(model_id).exists() or model_id.startswith((".", "/", "~"))
    return folder or model_id == "tiny"


def public_data_name(facts: Mapping[str, Any]) -> str:
    """Return a Hub data set's id, or the bare name of a local file or folder: a card is public."""
    path = str(facts.get("path", "")) or "table"
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) and not Path(path).exists():
        return path if not Path(path).suffix else Path(path).name
    return Path(path).name or "table"


def public_text(text: str, facts: Mapping[str, Any]) -> str:
    """Take the folders of the local data out of a text, leaving its name.

    Args:
        text: A note, say, that names a file.
        facts: `path`, the data as the user named it.
    """
    path = Path(str(facts.get("path", "")))
    if not path.name:
        return text
    # Longest first: a short form may be a part of the long one.
    forms = {str(form) for form in (path, path.expanduser(), path.expanduser().resolve())}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, public_data_name(facts))
    return text


def public_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of `footwork.json` or `report/metrics.json` may be published: no path of this machine.

    Args:
        document: With `model`, `data`, `config` and maybe `notes`, as Footwork wrote it.
    """
    public = dict(document)
    facts = document.get("data") or {}
    if facts:
        public["data"] = {**facts, "path": public_data_name(facts)}
    if model := document.get("model"):
        public["model"] = {**model, "id": _name_of(model["id"])}
    if config := document.get("config"):
        public["config"] = _without_folders(config)
    if "notes" in document:
        public["notes"] = [public_text(note, facts) for note in document["notes"]]
    return public


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_folders(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    return _name_of(value) if isinstance(value, str) else value


def _name_of(text: str) -> str:
    """Of a path from the root or the home its last part, any other text as it is."""
    rooted = text.startswith("~") or Path(text).is_absolute()
    return Path(text).name or text if rooted else text
