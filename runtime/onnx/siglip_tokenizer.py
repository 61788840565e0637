"""SigLIP's own tokenizer, which transformers has in Python only, as one that `tokenizers` runs."""

from __future__ import annotations

import re
import string
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors


def siglip_tokenizer(original: Any) -> Tokenizer:
    """The equal of a `transformers.SiglipTokenizer`.

    It lower-cases, drops punctuation, makes one space of several, and ends with its end token.

    Args:
        original: Holds a SentencePiece model of unigrams.
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
