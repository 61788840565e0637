"""`DualEncoder`: images and texts as unit vectors of one space."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
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
from footwork.encoder.preprocessing import Preprocessing
from footwork.encoder.streaming import Outcome, PictureFile, PictureStream, Source
from footwork.encoder.towers import ImageTower, TextTower
from footwork.errors import ImageError, ModelError
from footwork.models.checkpoints import load_part, model_commit, require_weights
from footwork.models.hub import IMAGE_PRESETS, resolve_model_id
from footwork.options import EncoderConfig

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


DEFAULT_IMAGE_MODEL = "openai/clip-vit-base-patch32"


DEFAULTS = EncoderConfig()


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A file and its embedding, or why it has none."""

    path: Path
    embedding: FloatArray | None
    """Shape (D,), of length 1."""
    fault: str | None
    """A clause such as "it is truncated"."""
    note: str | None = None
    """What to know of a picture that could be read, a clause."""


class DualEncoder:
    """A two-tower model: what shows in a picture and what a text says, in one space.

    Args:
        towers: As loaded; its image half may be cast to a lower precision, in place.
        config: Precision, batch size, threads.
    """

    def __init__(self, towers: TwoTowers, config: EncoderConfig = DEFAULTS) -> None:
        device = compute_device()
        on_cpu = device.type == "cpu"
        towers.model.to(device)
        self.model_id = towers.model_id
        self.revision = towers.revision
        self.logit_scale = towers.logit_scale
        self.logit_bias = towers.logit_bias
        self._towers = towers
        self.text_tower = TextTower(towers.model, towers.tokenizer)
        self._preprocessing = Preprocessing(towers.processor)
        dtype = _precision(config.precision, device)
        self._images = ImageTower(towers.model, dtype, config.batch_size or (16 if on_cpu else 64))
        self._pictures = PictureStream(self._preprocessing, self._images, config.workers, device)
        self.max_text_tokens = self.text_tower.max_tokens
        self.image_size = self._preprocessing.side
        """Pixels of the shorter side that the model needs of a picture."""
        self.width = self.text_tower.embed(["a"]).shape[1]
        """Of an embedding."""

    @classmethod
    def load(
        cls,
        model_id: str = DEFAULT_IMAGE_MODEL,
        revision: str | None = None,
        config: EncoderConfig = DEFAULTS,
    ) -> DualEncoder:
        """Load a model of CLIP's family.

        Args:
            model_id: Hub id, local folder, preset or `tiny`.
            revision: Branch, tag or commit on the Hub.
            config: Precision, batch size, threads.

        Raises:
            ModelError: It cannot be reached, is of another kind, or lacks weights.
        """
        return cls(load_two_towers(model_id, revision), config)

    @cached_property
    def fingerprint(self) -> str:
        """Names the weights and the preprocessing: equal ones give equal embeddings."""
        return f"{self._towers.version()}+{self._preprocessing.name}"

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts; what exceeds `max_text_tokens` is cut off (see `cut_texts`).

        Returns:
            Shape (N, D), unit rows. A row does not depend on the other texts.
        """
        _require_several(texts)
        return self.text_tower.embed(texts) if texts else self._no_rows()

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which of `texts` exceed `max_text_tokens`, so that their end is not read."""
        _require_several(texts)
        return self.text_tower.cut(texts) if texts else []

    def encode_images(self, images: Sequence[Path | Image.Image]) -> FloatArray:
        """Embed pictures, in this process alone.

        Returns:
            Shape (N, D), unit rows.

        Raises:
            ImageError: A file ends as no picture.
        """
        rows = self._pictures.rows(images)
        return np.stack(rows) if rows else self._no_rows()

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EncodedImage]:
        """Embed files; one that ends as no picture is no error but a `fault`.

        Of several processes each embeds its share and yields all files, so all of them must call
        this with the same paths and go through to the end.

        Args:
            paths: Read some batches ahead.

        Yields:
            A file each, in the order of `paths`.
        """
        for file, row in self._pictures.files(map(PictureFile, paths)):
            if isinstance(row, ImageError):
                yield EncodedImage(file.path, None, row.reason)
            else:
                yield EncodedImage(file.path, row, None, file.note)

    def encode_sources(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Outcome]]:
        """As `encode_files`, of sources that decode themselves.

        Yields:
            A source each, in order, with its unit row (D,) or its fault.
        """
        yield from self._pictures.files(sources)

    def _no_rows(self) -> FloatArray:
        return np.zeros((0, self.width), np.float32)


def _precision(requested: str, device: torch.device) -> torch.dtype:
    if requested == "auto" and has_fp16(device) and not has_bf16(device):
        return torch.float16
    return resolve_precision(requested, device)


def _require_several(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise TypeError(f"`texts` must be several, got the string {texts!r}.")
