"""The text half of a two-tower model, run by ONNX Runtime with nothing of torch.

Measured with a text half of CLIP ViT-B/32 (63 million parameters, 254 MB), 2 shared cores, one text
in a new process: numpy 0.06 s, ONNX Runtime 0.03, the tokenizer of 49,408 tokens 0.09, the session
0.05 beside it, the first text 0.03; each further one 17 ms. With packed weights the session alone
takes 0.57 s, and a text 15 % less.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ModelError, first_line
from footwork.files.plain_files import open_plain, read_object
from footwork.inference.tokens import held_texts, of_one_length

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer


GRAPH, TOKENIZER, SETTINGS = "text.onnx", "tokenizer.json", "text.json"
"""The files of a folder; the weights lie beside the graph, in `text.onnx.data`."""
FORMAT = 1
"""Of the folder; a change that older readers would misread counts it up."""
OUTPUT = "features"
_AGAIN = "footwork search doctor --repair prepares it anew; no image is embedded again."

_BATCH = 64  # texts
_MOST_THREADS = 4  # more do not make a few tokens faster
_MOST_TOKENS, _WIDEST = 1 << 20, 1 << 16
_COLUMNS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""Input of a model → attribute of a tokenizer's `Encoding`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """What is to be known of a text tower beside its weights and its tokenizer."""

    inputs: tuple[str, ...]
    """Of the graph, each of `_COLUMNS`."""
    max_tokens: int
    """The longest text, special tokens counted."""
    truncation_side: str
    """`right` or `left`: which end of a longer one goes."""
    padding: dict[str, Any] | None
    """Arguments of `enable_padding`, where each text is padded to `max_tokens`."""
    lowers: bool
    """Whether each text is lower-cased first."""
    width: int
    """Of an embedding."""
    logit_scale: float
    logit_bias: float | None
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """As `load` reads it."""
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> TextSettings:
        """Read `text.json`; a `ModelError` where it is missing, damaged, or of another format."""
        try:
            found = read_object(folder / SETTINGS)
            if found.get("format") != FORMAT:
                known = f"this is format {found.get('format')!r:.40}, known is {FORMAT}"
                raise _damaged(folder, known)
            found["inputs"] = tuple(found["inputs"])
            return cls(**found)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _damaged(folder, f"{SETTINGS}: {error}") from error

    def __post_init__(self) -> None:
        """Raises ValueError for what no text tower has."""
        numbers = [self.logit_scale, 0.0 if self.logit_bias is None else self.logit_bias]
        if not (
            set(self.inputs) <= set(_COLUMNS)
            and self.inputs
            and type(self.max_tokens) is type(self.width) is int
            and self.max_tokens in range(1, _MOST_TOKENS)
            and self.truncation_side in ("left", "right")
            and set(self.padding or ()) <= {"pad_id", "pad_token", "pad_type_id", "direction"}
            and self.width in range(1, _WIDEST)
            and all(isinstance(number, float | int) for number in numbers)
            and np.isfinite(np.array(numbers, np.float64)).all()
        ):
            raise ValueError("a setting is none of a text tower")


class OnnxTextTower:
    """Embeds texts as `DualEncoder.encode_texts` does; several threads may ask it at once.

    Its tokenizer cuts and pads as the settings say; the graph gives rows of any length.
    """

    def __init__(
        self, settings: TextSettings, tokenizer: Tokenizer, session: InferenceSession
    ) -> None:
        self.logit_scale, self.logit_bias = settings.logit_scale, settings.logit_bias
        self.width = settings.width
        """Of an embedding."""
        self.max_text_tokens = settings.max_tokens
        self._settings, self._tokenizer, self._session = settings, tokenizer, session

    @classmethod
    def load(cls, folder: Path) -> OnnxTextTower:
        """Open what `footwork.encoder.onnx_export` wrote; the weights stay in the file, mapped.

        A `ModelError` where something is missing or damaged.
        """
        settings = TextSettings.load(folder)
        sessions: list[InferenceSession | ModelError] = []

        def open_beside() -> None:
            try:
                sessions.append(_open_session(folder))
            except ModelError as error:
                sessions.append(error)

        # Neither holds the interpreter while it reads. `concurrent.futures` takes 10 ms to import.
        beside = Thread(target=open_beside)
        beside.start()
        try:
            tokenizer = _load_tokenizer(folder, settings)
        finally:
            beside.join()
        [session] = sessions
        if isinstance(session, ModelError):
            raise session
        return cls(settings, tokenizer, session)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """As `DualEncoder.encode_texts`; a `ModelError` where the weights are damaged."""
        encoded = self._tokenize(texts)
        embeddings = np.zeros((len(encoded), self.width), np.float32)
        lengths = np.array([len(one.ids) for one in encoded], np.int64)
        for batch in of_one_length(lengths, _BATCH) if encoded else ():
            embeddings[batch] = self._embed([encoded[row] for row in batch])
        return embeddings

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which of `texts` exceed `max_text_tokens`, so that their end is not read."""
        return [row for row, one in enumerate(self._tokenize(texts)) if one.overflowing]

    def _tokenize(self, texts: Sequence[str]) -> list[Encoding]:
        texts, lowers = held_texts(texts), self._settings.lowers
        try:
            return self._tokenizer.encode_batch([t.lower() if lowers else t for t in texts])
        except Exception as error:  # it raises nothing more special
            raise ModelError(
                f"The tokenizer of the text tower fails ({error}). {_AGAIN}"
            ) from error

    def _embed(self, encoded: Sequence[Encoding]) -> FloatArray:
        inputs = {
            name: np.array([getattr(one, _COLUMNS[name]) for one in encoded], np.int64)
            for name in self._settings.inputs
        }
        try:
            features = np.asarray(self._session.run([OUTPUT], inputs)[0], np.float32)
        except Exception as error:  # its kinds share no other base
            message = f"The text tower does not run ({first_line(error)}). {_AGAIN}"
            raise ModelError(message) from error
        with np.errstate(over="ignore"):
            norms = np.linalg.norm(features, axis=-1, keepdims=True)
        if features.shape != (len(encoded), self.width) or not np.isfinite(norms).all():
            message = f"The text tower gives no embeddings of {self.width} numbers: it is damaged"
            raise ModelError(f"{message}. {_AGAIN}")
        return features / np.maximum(norms, np.float32(1e-12))


def _load_tokenizer(folder: Path, settings: TextSettings) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        open_plain(folder / TOKENIZER).close()  # it would wait for a FIFO
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.enable_truncation(settings.max_tokens, direction=settings.truncation_side)
        if settings.padding is None:
            tokenizer.no_padding()
        else:
            tokenizer.enable_padding(length=settings.max_tokens, **settings.padding)
    except Exception as error:  # it raises nothing more special
        raise _damaged(folder, f"{TOKENIZER}: {error}") from error
    return tokenizer


def _open_session(folder: Path) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is fatal is raised as well
    # Packed weights would be copies: of 250 MB, half a second, where a query reads them once.
    options.add_session_config_entry("session.disable_prepacking", "1")
    # To rewrite the graph takes 12 ms, and makes a text no quicker: products are all that counts.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # A thread that spins between two queries takes the core from who has work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = min(_MOST_THREADS, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # each length is another pattern
    try:
        for path in folder.glob(f"{GRAPH}*"):
            open_plain(path).close()  # it would wait for a FIFO
        return onnxruntime.InferenceSession(
            str(folder / GRAPH),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # which would print on stdout
        )
    except Exception as error:  # its kinds share no other base
        raise _damaged(folder, f"{GRAPH}: {error}") from error


def _damaged(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"The text tower in {folder} cannot be read ({reason.splitlines()[0]:.300}). {_AGAIN}"
    )
