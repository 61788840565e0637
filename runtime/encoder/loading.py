"""Two-tower models: a checkpoint with a picture half and a text half, and what names it."""

from __future__ import annotations

import hashlib
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from runtime.checkpoints import (
    IMAGE_PRESETS,
    load_part,
    model_commit,
    require_weights,
    resolve_model_id,
)
from runtime.errors import ModelError

SUPPORTED = (
    "Supported are the two-tower models of transformers, such as CLIP, SigLIP, SigLIP 2, "
    "MetaCLIP 2, AltCLIP and Chinese-CLIP: openai/clip-vit-base-patch32, for one, or `tiny`, the "
    "embedded model."
)
_TOWERS = ("get_image_features", "get_text_features")
_CONTENT = (
    *("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer*.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *("*.safetensors", "*.bin"),
)
"""Files of a folder that an embedding depends on."""


@dataclass(frozen=True, slots=True)
class TwoTowers:
    """A checkpoint as it was loaded: model in float32, tokenizer, image processor on Pillow."""

    model_id: str
    """Hub id, absolute folder, or `tiny`."""
    revision: str | None
    """Commit on the Hub; None for a folder."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    processor: Any

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by, before the bias is added."""
        model: Any = self.model
        if hasattr(model, "logit_scale"):
            limit = getattr(model, "max_log_logit_scale", math.inf)  # AIMv2 has one
            return math.exp(min(model.logit_scale.item(), limit))
        return 1 / model.temperature.item()

    @property
    def logit_bias(self) -> float | None:
        """What is added to scaled cosines, where the scores are sigmoids."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else bias.item()

    def version(self) -> str:
        """Names the weights: Hub id and commit, or a hash of a folder's files."""
        folder = Path(IMAGE_PRESETS.get(self.model_id, self.model_id))
        if not folder.is_dir():
            return f"{self.model_id}@{self.revision or 'main'}"
        return f"sha256:{hash_of_files(folder)[:16]}"


def hash_of_files(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files that an embedding depends on."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in _CONTENT for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name}\0{digest}\0".encode())
    return total.hexdigest()


def load_two_towers(model_id: str, revision: str | None = None) -> TwoTowers:
    """A model that embeds pictures and texts in one space.

    Args:
        model_id: Hub id, local folder, preset or `tiny`.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: It cannot be reached, is of another kind, or lacks weights.
    """
    resolved = resolve_model_id(model_id, IMAGE_PRESETS)
    config = load_part(AutoConfig, resolved, revision=revision)
    _require_two_towers(model_id, MODEL_MAPPING.get(type(config), None))
    # All parts come from one commit, whatever is pushed meanwhile.
    revision = model_commit(resolved, revision) or revision
    model, report = load_part(
        AutoModel, resolved, revision=revision, dtype=torch.float32, output_loading_info=True
    )
    require_weights(model, report["missing_keys"], model_id)
    return TwoTowers(
        model_id if model_id == "tiny" else resolved,
        revision,
        model.eval().requires_grad_(False),
        load_part(AutoTokenizer, resolved, revision=revision),
        load_part(AutoImageProcessor, resolved, revision=revision, backend="pil"),
    )


def _require_two_towers(model_id: str, model_class: Any) -> None:
    if not all(hasattr(model_class, name) for name in _TOWERS):
        name = getattr(model_class, "__name__", "model without weights of its own")
        message = f"{model_id} is a {name}, which does not embed both images and texts. {SUPPORTED}"
        raise ModelError(message)
    if "decoder_input_ids" in inspect.signature(model_class.get_text_features).parameters:
        message = f"{model_id} is a {model_class.__name__}, which writes texts. {SUPPORTED}"
        raise ModelError(message)
