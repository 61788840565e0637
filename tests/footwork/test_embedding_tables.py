"""The tables of tokens and positions are found in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, CanineConfig, CanineModel

from footwork.models.checkpoints import position_limit, token_table
from tests.models import WIDTHS

NARROW = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 20}
LIMITED: dict[str, dict[str, Any]] = {
    "bert": WIDTHS | {"max_position_embeddings": 20},
    "roberta": WIDTHS | {"max_position_embeddings": 22},
    "ibert": WIDTHS | {"max_position_embeddings": 22},
    "bart": NARROW,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 20},
}


@pytest.mark.parametrize("model_type", sorted(LIMITED))
def test_a_model_takes_as_many_tokens_as_it_has_positions_and_no_more(model_type: str) -> None:
    config = AutoConfig.for_model(model_type, vocab_size=32, pad_token_id=1, **LIMITED[model_type])
    model = AutoModel.from_config(config).eval()
    limit = position_limit(model)
    assert limit == 20
    with torch.inference_mode():
        model(input_ids=torch.full((1, limit), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, limit + 1), 5))


def test_relative_positions_have_no_limit() -> None:
    config = AutoConfig.for_model(
        "deberta-v2", vocab_size=32, relative_attention=True, position_biased_input=False, **WIDTHS
    )
    model = AutoModel.from_config(config)
    assert position_limit(model) is None
    assert token_table(model) is model.embeddings.word_embeddings


def test_a_model_of_characters_has_no_table_of_tokens() -> None:
    assert token_table(CanineModel(CanineConfig(**WIDTHS, num_hash_buckets=16))) is None
