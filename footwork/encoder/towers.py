"""The two halves of a two-tower model: one embeds pictures, one embeds texts."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from footwork.arrays import FloatArray
from footwork.encoder.preprocessing import PixelArrays
from footwork.inference.halving import ElasticBatch, unit_rows
from footwork.inference.tokens import of_one_length
from footwork.models.checkpoints import position_limit, quiet_transformers

PADDED_TEXTS = frozenset({"siglip", "siglip2"})
"""Model types that read a text from its last position, and were trained on texts of full length."""
TEXT_BATCH = 64


class ImageTower:
    """Embeds prepared pictures; several threads may ask it at once.

    Args:
        model: On its device. The linear layers of its image half are cast to `dtype`, in place.
        dtype: Of matrix products; float32, bfloat16 or float16.
        batch_size: Pictures at once.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype, batch_size: int) -> None:
        self._model = model
        self._dtype = dtype
        self.batch = ElasticBatch(batch_size, "image")
        # On a processor every thread computes; an accelerator computes one batch after another.
        on_cpu = model.device.type == "cpu"
        self._turn = nullcontext() if on_cpu else threading.Lock()
        if dtype is not torch.float32:
            _cast_image_half(model, dtype)

    def embed(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        """Pictures of equal shapes to unit rows, (B, D)."""
        return self.batch.run(self._forward, pictures)

    def _forward(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        device, lowered = self._model.device, self._dtype is not torch.float32
        inputs = {
            name: torch.from_numpy(np.stack([one[name] for one in pictures])).to(device)
            for name in pictures[0]
        }
        # One context each: they belong to the thread.
        in_dtype = torch.autocast(device.type, self._dtype, enabled=lowered)
        with self._turn, torch.inference_mode(), in_dtype:
            return unit_rows(self._model.get_image_features(**inputs).pooler_output)


def _cast_image_half(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Once, and not in each call as autocast would; the text half stays in float32."""
    for name, child in model.named_children():
        for module in () if name.startswith("text_") else child.modules():
            if type(module) is nn.Linear:
                module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)


class TextTower:
    """Embeds texts, always in float32, each as if it were alone.

    Args:
        model: On its device.
        tokenizer: The model's own.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._turn = threading.Lock()  # a fast tokenizer refuses two threads at once
        self.batch = ElasticBatch(TEXT_BATCH, "text")
        self.padded = model.config.model_type in PADDED_TEXTS
        """Whether each text is padded to `max_tokens`."""
        self.lowers = lowers_texts(model.config.model_type, tokenizer)
        """Whether each is lower-cased before it is tokenized."""
        self._inputs = inspect.signature(model.get_text_features).parameters
        self.max_tokens = max_text_tokens(model, tokenizer)
        """The longest text, in tokens, special ones counted."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Texts, cut to `max_tokens`, to unit rows (N, D); N is at least 1."""
        columns = self.tokenize(texts)
        lengths = np.array([len(ids) for ids in columns["input_ids"]])
        batches = list(of_one_length(lengths, self.batch.size))
        rows = np.concatenate(
            [
                self.batch.run(
                    self._forward,
                    [{name: ids[row] for name, ids in columns.items()} for row in batch],
                )
                for batch in batches
            ]
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
        with quiet_transformers():  # it would warn of what is asked here
            encoded = self._tokenize(texts)
        return [row for row, ids in enumerate(encoded["input_ids"]) if len(ids) > self.max_tokens]

    def _forward(self, texts: Sequence[dict[str, list[int]]]) -> FloatArray:
        inputs = {
            name: torch.tensor([text[name] for text in texts], device=self.model.device)
            for name in texts[0]
        }
        with torch.inference_mode():
            return unit_rows(self.model.get_text_features(**inputs).pooler_output)

    def _tokenize(self, texts: Sequence[str], **options: Any) -> Any:
        lowered = [text.lower() if self.lowers else text for text in texts]
        with self._turn:
            return self.tokenizer(lowered, **options)


def lowers_texts(model_type: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether texts are to be lower-cased first: SigLIP 2 learned from lower-case ones.

    Its checkpoints of a fixed resolution call themselves SigLIP and bring Gemma's tokenizer, which
    keeps capitals. All others' tokenizers do what their model needs.
    """
    gemma = "Gemma" in type(tokenizer).__name__
    return model_type == "siglip2" or (model_type == "siglip" and gemma)


def max_text_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest text that the text tower has positions for and its tokenizer allows."""
    tower = getattr(model, "text_model", model)
    config = getattr(model.config, "text_config", None)
    learned = position_limit(tower) or getattr(config, "max_position_embeddings", None)
    return min(tokenizer.model_max_length, learned or 512)
