"""Words as vectors of an index, without loading what embedded its images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, ModelError, StoreError
from footwork.files.checksums import damage_in, has_checksums, write_checksums
from footwork.files.folders import followed, remove_staging, renewed_folder
from footwork.files.locks import exclusive_lock
from footwork.files.paths import shell_word
from footwork.files.plain_files import open_plain, require_no_link
from footwork.options import EncoderConfig, decoding_of
from search.query.relevance import reference_prompts
from search.store.protocol import Embedder, wrong_lengths

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder
    from footwork.encoder.onnx_text import OnnxTextTower

KIND = "texts"
"""Of the manifest that holds the checksums."""
_REFERENCES = "references.npy"
_TOWER = "tower"
_LONGEST = 1 << 26  # bytes of the references: 200 rows of a few thousand numbers
_CLOSE = 1e-3
_PREPARE = "footwork search doctor --repair prepares it anew; no image is embedded again."
_UNREADABLE = (OSError, ValueError, EOFError, MemoryError, RecursionError, OverflowError, TypeError)
"""What numpy makes of a file that is none of its own."""


TextEncoder: TypeAlias = "OnnxTextTower | DualEncoder"
"""Embeds texts: the text half by itself, or a whole model."""


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
        if fault := damage_in(folder, KIND, whole=False):
            raise StoreError(f"{folder} is damaged: {fault}. {_PREPARE}")
        self.references: FloatArray = _references(folder, embedder.width)
        """Vectors of everyday words, (R, D): what an image is measured against."""

    @cached_property
    def encoder(self) -> TextEncoder:
        """Loaded when it is first asked for; `ModelError` if it is damaged, or cannot be loaded."""
        if not self.has_tower:
            return load_model(self._embedder)
        from footwork.encoder.onnx_text import OnnxTextTower

        return OnnxTextTower.load(self._folder / _TOWER)

    @property
    def has_tower(self) -> bool:
        """Whether words are embedded without loading the whole model."""
        return (self._folder / _TOWER).is_dir()

    def damage(self) -> str | None:
        """What is wrong, every byte looked at, as a clause; None for nothing.

        An older folder has no checksums: there the text half must answer as when it was made.
        """
        if fault := damage_in(self._folder, KIND, whole=True):
            return fault
        if not self.has_tower:
            return None
        prompts = reference_prompts(self._embedder.model_id)
        whole = not has_checksums(self._folder) and len(prompts) == len(self.references)
        found = self.encoder.encode_texts(prompts if whole else prompts[:1])
        if found.shape[1] != self._embedder.width or len(wrong_lengths(found)):
            return "the text half of the model gives no unit vectors of the index's width"
        if whole and not np.abs(found - self.references).max() < _CLOSE:
            return "the text half of the model answers otherwise than when it was made"
        return None


def _references(folder: Path, width: int) -> FloatArray:
    try:
        with open_plain(folder / _REFERENCES) as file:
            stream = BytesIO(file.read(_LONGEST))
        rows: FloatArray = np.lib.format.read_array(stream, allow_pickle=False)
    except _UNREADABLE as error:
        message = f"{folder} lacks what queries in words need ({error!s:.200}). {_PREPARE}"
        raise StoreError(message) from error
    what = None
    if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != width or len(rows) < 2:
        what = f"{rows.dtype!s:.20} of shape {rows.shape}, not float32 of (R, {width})"
    elif len(wrong := wrong_lengths(rows)):
        what = f"{len(wrong):,} rows that are no unit vectors"
    if what is not None:
        raise StoreError(f"{folder / _REFERENCES} holds {what}. {_PREPARE}")
    return rows


def open_texts(folder: Path, embedder: Embedder) -> Texts:
    """What a folder holds; it is made first if this machine has not asked a server's index yet.

    `StoreError` where the folder is damaged, or cannot be written; `ModelError` where the model is
    needed, and cannot be loaded.
    """
    if not os.path.lexists(folder / _REFERENCES):
        try:
            prepare_texts(load_model(embedder), folder)
        except OSError as error:
            raise StoreError(
                f"{folder} lacks what queries need, and cannot be written: {error.strerror}. Make "
                "it writable, and run footwork search index; no image is embedded again."
            ) from error
    return Texts(folder, embedder)


def is_prepared(folder: Path, embedder: Embedder) -> bool:
    """Whether `prepare_texts` has been here, and what it left is still that."""
    try:
        Texts(folder, embedder)
        return damage_in(folder, KIND, whole=True) is None
    except StoreError:
        return False


def prepare_texts(encoder: DualEncoder, folder: Path) -> str | None:
    """Write a model's text half, and what its answers are measured against; it appears whole.

    Returned is why the text half could not be written by itself, if it could not. `OSError` where
    the folder cannot be written, or is a link.
    """
    from footwork.encoder.onnx_export import export_text_tower

    note = None
    with new_texts(folder) as staging:
        try:
            tower = staging / _TOWER
            tower.mkdir()
            export_text_tower(encoder, tower)
        except ModelError as error:
            note = str(error)
            shutil.rmtree(tower)
        rows = encoder.encode_texts(reference_prompts(encoder.model_id))
        np.save(staging / _REFERENCES, rows)
        write_checksums(staging, KIND)
    return note


@contextmanager
def new_texts(folder: Path) -> Iterator[Path]:
    """As `renewed_folder`, by one process at a time; `OSError` as of `prepare_texts`."""
    require_no_link(folder)
    followed(folder.parent).mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder.with_name(f"{folder.name}.lock"), wait=True):
        remove_staging(folder)  # of a process that was killed: one that lives holds the lock
        with renewed_folder(folder) as staging:
            yield staging


def load_model(embedder: Embedder, config: EncoderConfig | None = None) -> DualEncoder:
    """The model of an index, whole; it decodes images as those of the index were.

    `ConfigError` where `config` asks for another decoding; `ModelError` where it cannot be loaded,
    or is no longer what it was.
    """
    from footwork.encoder.dual import DualEncoder

    made = decoding_of(embedder.fingerprint)
    config = (config or EncoderConfig()).decoding_as(made, "The index")
    try:
        encoder = DualEncoder(embedder.model_id, embedder.revision, config)
    except ConfigError as error:  # no fault of the command, which did not name it
        message = f"The index was made with {embedder.model_id}, which is not there. {error}"
        raise ModelError(message) from error
    if encoder.fingerprint != embedder.fingerprint:
        raise ModelError(
            f"The index was made with {embedder.model_id} ({embedder.width} wide, "
            f"{embedder.fingerprint}); what is there now is {encoder.fingerprint}. Bring the old "
            f"one back, or embed anew: footwork search index --model "
            f"{shell_word(embedder.model_id)}"
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
