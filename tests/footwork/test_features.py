from __future__ import annotations

import pytest
import torch
from transformers import (
    LukeConfig,
    LukeForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
)

from footwork.errors import ModelError
from footwork.inference.features import compute_features, head_logits, head_only
from footwork.inference.tokens import TokenizedTexts, tokenize
from tests.models import FAMILIES, WIDTHS, build_tokenizer
from tests.toy_training import TEXTS, build_toy_model


def assert_the_head_says_the_same(model: PreTrainedModel, texts: TokenizedTexts) -> None:
    features = compute_features(model, texts, "float32")
    with torch.inference_mode():
        expected = torch.cat([model(**texts.batch([row])).logits for row in range(len(texts))])
        found = head_logits(model, features)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_says_of_kept_features_what_the_model_says_of_the_text(family: str) -> None:
    model = build_toy_model(family).eval()
    assert_the_head_says_the_same(model, tokenize(build_tokenizer(family), TEXTS, None, 64))


def test_the_encoder_comes_back() -> None:
    model = build_toy_model("bert")
    encoder = model.base_model
    with head_only(model):
        assert model.base_model is not encoder
    assert model.base_model is encoder


def test_a_head_that_averages_over_tokens_is_recognised() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer("bert")
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        classifier_pooling="mean",
        pad_token_id=0,
        attn_implementation="eager",
    )
    model = ModernBertForSequenceClassification(config).eval()
    assert_the_head_says_the_same(model, tokenize(tokenizer, TEXTS[:9], None, 64))


def test_a_head_that_reads_several_states_is_refused() -> None:
    model = build_toy_model("bert").eval()
    forward = model.forward

    def reads_all(input_ids: torch.Tensor, **inputs: torch.Tensor) -> object:
        output = forward(input_ids=input_ids, **inputs)
        output.logits = output.logits + input_ids.float().mean()
        return output

    model.forward = reads_all
    texts = tokenize(build_tokenizer("bert"), TEXTS, None, 64)
    with pytest.raises(ModelError, match=r"reads more than one state.*--method lora"):
        compute_features(model, texts, "float32")


def test_a_head_that_hands_on_what_else_its_encoder_says_is_content_without() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer("roberta")
    config = LukeConfig(vocab_size=len(tokenizer), entity_vocab_size=10, pad_token_id=1, **WIDTHS)
    model = LukeForSequenceClassification(config).eval()
    assert_the_head_says_the_same(model, tokenize(tokenizer, TEXTS[:3], None, 64))
