"""`DualEncoder`: images and texts as unit vectors of one space."""

from __future__ import annotations

import hashlib
import inspect
import math
import threading
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
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

from footwork.accelerator import compute_device, has_bf16, has_fp16, resolve_precision
from footwork.arrays import FloatArray
from footwork.encoder.streaming import PictureStream, Preprocessing
from footwork.errors import ModelError
from footwork.files.plain_files import content_hash
from footwork.inference.frozen import cast_linear_weights, steady_linears
from footwork.inference.halving import ElasticBatch, unit_embeddings
from footwork.inference.tokens import held_texts, of_one_length
from footwork.models import checkpoints
from footwork.models.hub import IMAGE_PRESETS, resolve_model_id
from footwork.options import DEFAULT_IMAGE_MODEL, EncoderConfig

DEFAULTS = EncoderConfig()
SUPPORTED = (
    "Supported are the two-tower models of transformers, such as CLIP, SigLIP, SigLIP 2, "
    "MetaCLIP 2, AltCLIP and Chinese-CLIP: openai/clip-vit-base-patch32, for one, or `tiny`, the "
    "embedded model."
)
PADDED_TEXTS = frozenset({"siglip", "siglip2"})
"""Model types that read a text from its last position, and were trained on texts of full length."""
TEXT_BATCH = 64
_TOWERS = ("get_image_features", "get_text_features")
_CONTENT = (
    *("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer*.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *("*.safetensors", "*.bin"),
)
"""Files of a folder that an embedding depends on."""


def load_two_towers(
    model_id: str, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Any, str | None]:
    """A model that embeds pictures and texts in one space, in float32, its parts and its commit.

    `model_id` is a Hub id, a local folder, a preset or `tiny`. One that cannot be reached, is of
    another kind, or lacks weights is a `ModelError`.
    """
    resolved = resolve_model_id(model_id, IMAGE_PRESETS)
    config = checkpoints.load_part(AutoConfig, resolved, revision=revision)
    model_class: Any = MODEL_MAPPING.get(type(config), None)
    name = getattr(model_class, "__name__", "model without weights of its own")
    if not all(hasattr(model_class, method) for method in _TOWERS):
        raise ModelError(
            f"{model_id} is a {name}, which does not embed both images and texts. {SUPPORTED}"
        )
    if "decoder_input_ids" in inspect.signature(model_class.get_text_features).parameters:
        raise ModelError(f"{model_id} is a {name}, which writes texts. {SUPPORTED}")
    # All parts come from one commit, whatever is pushed meanwhile.
    revision = checkpoints.model_commit(resolved, revision) or revision
    # What is small comes first: without it, hundreds of megabytes would be fetched in vain.
    tokenizer = checkpoints.load_part(AutoTokenizer, resolved, revision=revision)
    own: Any = {"revision": revision, "backend": "pil"}
    processor = checkpoints.load_part(AutoImageProcessor, resolved, **own)
    whole: Any = {"revision": revision, **checkpoints.WITH_REPORT}
    model, report = checkpoints.load_part(AutoModel, resolved, **whole)
    checkpoints.require_weights(model, report, model_id)
    return model.eval().requires_grad_(False), tokenizer, processor, revision


def _version(model_id: str, revision: str | None) -> str:
    """Names the weights: Hub id and commit, or a hash of a folder's files."""
    folder = Path(IMAGE_PRESETS.get(model_id, model_id))
    if not folder.is_dir():
        return f"{model_id}@{revision or 'main'}"
    total = hashlib.sha256()
    for path in sorted({path for pattern in _CONTENT for path in folder.glob(pattern)}):
        total.update(f"{path.name}\0{content_hash(path)}\0".encode())
    return f"sha256:{total.hexdigest()[:16]}"


def _logit_scale(model: Any) -> float:
    if not hasattr(model, "logit_scale"):
        return 1 / float(model.temperature)
    limit = getattr(model, "max_log_logit_scale", math.inf)  # AIMv2 has one
    return math.exp(min(float(model.logit_scale), limit))


class TextTower:
    """Embeds texts, always in float32, each as if it were alone.

    SigLIP 2 learned from lower-case texts. Its checkpoints of a fixed resolution call themselves
    SigLIP and bring Gemma's tokenizer, which keeps capitals. All others' tokenizers do what their
    model needs.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._turn = threading.Lock()  # a fast tokenizer refuses two threads at once
        self.batch = ElasticBatch(TEXT_BATCH, "text")
        kind, gemma = model.config.model_type, "Gemma" in type(tokenizer).__name__
        self.padded = kind in PADDED_TEXTS
        """Whether each text is padded to `max_tokens`."""
        self.lowers = kind == "siglip2" or (kind == "siglip" and gemma)
        """Whether each is lower-cased before it is tokenized."""
        self._inputs = inspect.signature(model.get_text_features).parameters
        config = getattr(model.config, "text_config", None)
        positions = checkpoints.position_limit(getattr(model, "text_model", model))
        learned = positions or getattr(config, "max_position_embeddings", None) or 512
        self.max_tokens = min(tokenizer.model_max_length, learned)
        """The longest text, in tokens, special ones counted."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Texts, cut to `max_tokens`, to unit rows (N, D); N is at least 1."""
        columns = self.tokenize(texts)
        encoded = [
            dict(zip(columns, ids, strict=True)) for ids in zip(*columns.values(), strict=True)
        ]
        lengths = np.array([len(text["input_ids"]) for text in encoded])
        batches = list(of_one_length(lengths, self.batch.size))
        rows = np.concatenate(
            [self.batch.run(self._forward, [encoded[row] for row in batch]) for batch in batches]
        )
        embeddings = np.empty_like(rows)
        embeddings[np.concatenate(batches)] = rows
        return embeddings

    def tokenize(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """What the model is given for N texts, cut to `max_tokens`: N lists each, by input name."""
        padding = "max_length" if self.padded else False
        options = {"truncation": True, "max_length": self.max_tokens, "padding": padding}
        encoded = self._tokenize(texts, **options)
        return {name: ids for name, ids in encoded.items() if name in self._inputs}

    def cut(self, texts: Sequence[str]) -> list[int]:
        """Which texts have more than `max_tokens`."""
        with checkpoints.quiet_transformers():  # it would warn of what is asked here
            encoded = self._tokenize(texts)
        return [row for row, ids in enumerate(encoded["input_ids"]) if len(ids) > self.max_tokens]

    def _forward(self, texts: Sequence[dict[str, list[int]]]) -> FloatArray:
        inputs = {
            name: torch.tensor([text[name] for text in texts], device=self.model.device)
            for name in texts[0]
        }
        with torch.inference_mode():
            return unit_embeddings(self.model.get_text_features(**inputs).pooler_output)

    def _tokenize(self, texts: Sequence[str], **options: Any) -> Any:
        lowered = [text.lower() if self.lowers else text for text in texts]
        with self._turn:
            return self.tokenizer(lowered, **options)


class DualEncoder(PictureStream):
    """A two-tower model: what shows in a picture and what a text says, in one space.

    It is loaded as by `load_two_towers`.
    """

    def __init__(
        self,
        model_id: str = DEFAULT_IMAGE_MODEL,
        revision: str | None = None,
        config: EncoderConfig = DEFAULTS,
    ) -> None:
        model, tokenizer, processor, self.revision = load_two_towers(model_id, revision)
        resolved = resolve_model_id(model_id, IMAGE_PRESETS)
        self.model_id = "tiny" if model_id == "tiny" else resolved
        """Hub id, absolute folder, or `tiny`."""
        device = compute_device(config.device)
        self._model: Any = model.to(device)
        self.logit_scale = _logit_scale(model)
        """What cosines are multiplied by, before the bias is added."""
        bias = getattr(model, "logit_bias", None)
        self.logit_bias = None if bias is None else bias.item()
        """What is added to scaled cosines, where the scores are sigmoids."""
        self.text_tower = TextTower(model, tokenizer)
        dtype = resolve_precision(config.precision, device)
        if config.precision == "auto" and has_fp16(device) and not has_bf16(device):
            dtype = torch.float16
        self._in_dtype = partial(
            torch.autocast, device.type, dtype, enabled=dtype is not torch.float32
        )
        for name, child in model.named_children():
            if name.startswith("text_"):  # texts stay in float32
                continue
            if dtype is not torch.float32:
                cast_linear_weights(child, dtype)
            if device.type == "cpu":
                steady_linears(child)
        preprocessing = Preprocessing(processor, config.decode or "draft")
        width = self.text_tower.embed(["a"]).shape[1]
        super().__init__(preprocessing, self._embed, config, device, width)
        self.max_text_tokens = self.text_tower.max_tokens
        self.image_size = preprocessing.side
        """Pixels of the shorter side that the model needs of a picture."""

    @cached_property
    def fingerprint(self) -> str:
        """Names the weights and the preprocessing: equal ones give equal embeddings."""
        return f"{_version(self.model_id, self.revision)}+{self._preprocessing.name}"

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, (N, D), of N texts, each as if it were alone.

        What exceeds `max_text_tokens` is cut off (see `cut_texts`).
        """
        texts = held_texts(texts)
        return self.text_tower.embed(texts) if texts else np.zeros((0, self.width), np.float32)

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which of `texts` exceed `max_text_tokens`, so that their end is not read."""
        texts = held_texts(texts)
        return self.text_tower.cut(texts) if texts else []

    def _embed(self, inputs: dict[str, torch.Tensor]) -> FloatArray:
        with self._in_dtype():
            return unit_embeddings(self._model.get_image_features(**inputs).pooler_output)
