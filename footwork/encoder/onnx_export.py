"""Write a model's text half so that a query needs neither torch nor transformers."""

from __future__ import annotations

import copy
import json
import logging
import re
import string
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

from footwork.encoder.dual import DualEncoder, TextTower
from footwork.encoder.onnx_text import GRAPH, OUTPUT, TOKENIZER, OnnxTextTower, TextSettings
from footwork.errors import ModelError, first_line
from footwork.processes import entered_once
from footwork.prompts.none_of_these import REFERENCE_WORDS


def siglip_tokenizer(original: Any) -> Tokenizer:
    """The equal of a `transformers.SiglipTokenizer`, which holds SentencePiece's unigrams.

    It lower-cases, drops punctuation, makes one space of several, and ends with its end token.
    """
    from sentencepiece import sentencepiece_model_pb2

    pieces = original.sp_model
    proto = sentencepiece_model_pb2.ModelProto.FromString(pieces.serialized_model_proto())
    scores = [(pieces.id_to_piece(row), pieces.get_score(row)) for row in range(len(pieces))]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=pieces.unk_id()))
    steps: list[Any] = [
        normalizers.Replace("▁", " "),
        *([normalizers.Lowercase()] if original.do_lower_case else []),
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    # In front of the text even where it is empty, as the original has it.
    steps += [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    end = original.eos_token
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", end], special_tokens=[(end, original.eos_token_id)]
    )
    return tokenizer


CLOSE = 1e-4
"""Largest difference of an entry of a unit row that counts as none."""

_ODD_TEXTS = (
    *("a", "", " ", ".", "A red bicycle, leaning against a wall!", "WITHOUT  a   dog\n"),
    *("naïve café – Größe 12½", "一只红色的猫", "кот", "🙂🐈", "it's <b>not</b> & I_am", "x" * 90),
    "a man and a dog in front of the house at night " * 40,
)
_LIKE = "a cat"
_IMAGE_HALF = ("vision", "visual", "image")


def export_text_tower(encoder: DualEncoder, folder: Path) -> None:
    """Write the text half of `encoder` into an empty folder, and see that it answers alike.

    A `ModelError` where its tokenizer or its text half has no equal outside of transformers; such a
    model is queried through torch.
    """
    tower, tokenizer = encoder.text_tower, encoder.text_tower.tokenizer
    padding = {
        "pad_id": tokenizer.pad_token_id,
        "pad_token": tokenizer.pad_token,
        "pad_type_id": tokenizer.pad_token_type_id,
        "direction": tokenizer.padding_side,
    }
    settings = TextSettings(
        inputs=tuple(tower.tokenize([_LIKE])),
        max_tokens=tower.max_tokens,
        truncation_side=tokenizer.truncation_side,
        padding=padding if tower.padded else None,
        lowers=tower.lowers,
        width=encoder.width,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
    )
    _tokenizer_file(tower, folder)
    settings.save(folder)
    with _silence():
        _export_graph(tower, settings.inputs, folder)
    exported, texts = OnnxTextTower.load(folder), [*_ODD_TEXTS, *REFERENCE_WORDS]
    differences = np.abs(encoder.encode_texts(texts) - exported.encode_texts(texts)).max(axis=1)
    if not differences.max() <= CLOSE:
        text = texts[int(differences.argmax())]
        reason = f"its answer for {text[:40]!r} differs by {differences.max():.2g}"
        raise _not_exportable(tower, reason)
    if exported.cut_texts(texts) != encoder.cut_texts(texts):
        raise _not_exportable(tower, "it cuts other texts")


def _tokenizer_file(tower: TextTower, folder: Path) -> None:
    backend = getattr(tower.tokenizer, "backend_tokenizer", None)
    name = type(tower.tokenizer).__name__
    if name == "SiglipTokenizer":
        backend = siglip_tokenizer(tower.tokenizer)
    elif backend is None:
        raise _not_exportable(tower, f"a {name} exists in transformers only")
    content = json.loads(backend.to_str())
    merges = content["model"].get("merges", ())
    if merges and not any(" " in piece for merge in merges for piece in merge):
        # The older of the two ways to write them is read in two thirds of the time: of 256,000
        # tokens, as SigLIP 2 has them, in 0.49 s for 0.75 s.
        content["model"]["merges"] = [" ".join(merge) for merge in merges]
    (folder / TOKENIZER).write_text(json.dumps(content, ensure_ascii=False), "utf-8")


class _TextHalf(nn.Module):
    """The text half as a function of tensors; holds nothing of the image half."""

    def __init__(self, model: nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        half = copy.copy(model)
        half._modules = {
            name: module
            for name, module in model._modules.items()
            if not name.startswith(_IMAGE_HALF)
        }
        self.model: Any = half
        self.inputs = tuple(inputs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Inputs (B, T) to features (B, D)."""
        named = dict(zip(self.inputs, tensors, strict=True))
        features: torch.Tensor = self.model.get_text_features(**named).pooler_output
        return features.float()


def _export_graph(tower: TextTower, inputs: Sequence[str], folder: Path) -> None:
    columns = tower.tokenize([_LIKE, _LIKE])
    examples = tuple(torch.tensor(columns[name], device=tower.model.device) for name in inputs)
    any_size = torch.export.Dim.DYNAMIC
    sizes = {0: any_size} if tower.padded else {0: any_size, 1: any_size}
    try:
        program = torch.onnx.export(
            _TextHalf(tower.model, inputs).eval(),
            examples,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=(tuple(sizes for _ in inputs),),
        )
        assert program is not None
        # Where each node came from is most of the file, and read with it.
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()
        program.save(folder / GRAPH, external_data=True)
    except OSError:  # of the disk, not of the model
        raise
    except Exception as error:  # whatever a model does that the exporter cannot
        raise _not_exportable(tower, first_line(error)) from error


def _not_exportable(tower: TextTower, reason: str) -> ModelError:
    name = type(tower.model).__name__
    return ModelError(
        f"The text half of this {name} cannot be made to run without torch: {reason}. "
        "Queries load the whole model."
    )


@entered_once
@contextmanager
def _silence() -> Iterator[None]:
    """Within the block the exporter tells nothing of its own affairs."""
    telling = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [each.level for each in telling]
    for each in telling:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(telling, levels, strict=True):
            each.setLevel(level)
