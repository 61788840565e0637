"""How a folder that `finetune` published is known, without loading anything of it."""

from __future__ import annotations

from typing import Any

APPLICATION, KIND = "zeroshot", "finetuned"


def is_finetuned(manifest: Any) -> bool:
    """Whether a `footwork.json` is that of a fine-tuned image classifier."""
    return (
        isinstance(manifest, dict)
        and manifest.get("application") == APPLICATION
        and manifest.get("kind") == KIND
    )
