"""Words as vectors of an index, without loading what embedded its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from runtime.encoder_config import EncoderConfig
from runtime.errors import ModelError, StoreError
from runtime.folders import renewed_folder
from search.query.relevance import reference_prompts
from search.store.protocol import Embedder, FloatArray

if TYPE_CHECKING:
    from runtime.encoder import DualEncoder

_REFERENCES = "references.npy"
_TOWER = "tower"


class TextEncoder(Protocol):
    """Embeds texts: the text half by itself, or a whole model."""

    logit_scale: float
    """What cosines are multiplied by, before the bias is added."""
    logit_bias: float | None
    """What is added, where scores are sigmoids."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, (N, D)."""

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which texts are longer than the model reads."""


class Texts:
    """What `prepare_texts` left in a folder.

    Args:
        folder: That holds it.
        embedder: The model, loaded whole where its text half could not be had by itself.

    Raises:
        StoreError: The folder is missing or damaged.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._folder, self._embedder = folder, embedder
        self._encoder: TextEncoder | None = None
        try:
            self.references: FloatArray = np.load(folder / _REFERENCES, allow_pickle=False)
            """Vectors of everyday words, (R, D): what a picture is measured against."""
        except (OSError, ValueError) as error:
            message = (
                f"{folder} lacks what queries in words need ({error}). "
                "Run footwork search index once more; no image is embedded again."
            )
            raise StoreError(message) from error

    @property
    def encoder(self) -> TextEncoder:
        """Loaded when it is first asked for.

        Raises:
            ModelError: It is damaged, or the whole model cannot be loaded.
        """
        if self._encoder is None:
            self._encoder = self._loaded()
        return self._encoder

    @property
    def has_tower(self) -> bool:
        """Whether words are embedded without loading the whole model."""
        return (self._folder / _TOWER).is_dir()

    def _loaded(self) -> TextEncoder:
        if self.has_tower:
            from runtime.onnx.text_tower import OnnxTextTower

            return OnnxTextTower.load(self._folder / _TOWER)
        return load_model(self._embedder)


def open_texts(folder: Path, embedder: Embedder) -> Texts:
    """What a folder holds; it is made first if this machine has not asked a server's index yet.

    Raises:
        ModelError: The model is needed, and cannot be loaded.
        StoreError: The folder cannot be written.
    """
    if not is_prepared(folder):
        try:
            prepare_texts(load_model(embedder), folder)
        except OSError as error:
            raise StoreError(
                f"{folder} lacks what queries need, and cannot be written: {error.strerror}. Make "
                "it writable, and run footwork search index; no image is embedded again."
            ) from error
    return Texts(folder, embedder)


def is_prepared(folder: Path) -> bool:
    """Whether `prepare_texts` has been here, and what it left can be read."""
    try:
        return len(np.load(folder / _REFERENCES, allow_pickle=False)) > 0
    except (OSError, ValueError, EOFError):
        return False


def prepare_texts(encoder: DualEncoder, folder: Path) -> str | None:
    """Write a model's text half, and what its answers are measured against.

    Args:
        encoder: The model.
        folder: Appears whole.

    Returns:
        Why the text half could not be written by itself, if it could not.
    """
    from runtime.onnx.export import export_text_tower

    note = None
    with renewed_folder(folder) as staging:
        try:
            tower = staging / _TOWER
            tower.mkdir()
            export_text_tower(encoder, tower)
        except ModelError as error:
            note = str(error)
            for path in tower.iterdir():
                path.unlink()
            tower.rmdir()
        np.save(staging / _REFERENCES, encoder.encode_texts(reference_prompts(encoder.model_id)))
    return note


def load_model(embedder: Embedder, config: EncoderConfig | None = None) -> DualEncoder:
    """The model of an index, whole.

    Raises:
        ModelError: It cannot be loaded, or is no longer what it was.
    """
    from runtime.encoder import DualEncoder

    encoder = DualEncoder.load(embedder.model_id, embedder.revision, config or EncoderConfig())
    if encoder.fingerprint != embedder.fingerprint:
        raise ModelError(
            f"The index was made with {embedder.model_id} ({embedder.width} wide, "
            f"{embedder.fingerprint}); what is there now is {encoder.fingerprint}. Bring the old "
            f"one back, or embed anew: footwork search index --model {embedder.model_id}"
        )
    return encoder


def embedder_of(encoder: DualEncoder) -> Embedder:
    """What a store keeps of the model that made its vectors."""
    return Embedder(
        model_id=encoder.model_id,
        revision=encoder.revision,
        fingerprint=encoder.fingerprint,
        width=encoder.width,
    )
