"""A model is run in the dtype that the machine is quick in, where the model can be."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel, DebertaConfig, DebertaModel

from runtime import model_precision
from runtime.errors import ConfigError
from runtime.model_precision import settled_precision
from tests.models import WIDTHS


@pytest.fixture
def first_deberta() -> DebertaModel:
    config = DebertaConfig(
        vocab_size=32, relative_attention=True, pos_att_type=["c2p", "p2c"], **WIDTHS
    )
    return DebertaModel(config)


def test_auto_asks_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = BertModel(BertConfig(vocab_size=32, **WIDTHS))
    for has, name in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr("runtime.accelerator.has_bf16", lambda _, has=has: has)
        assert settled_precision("auto", model) == name
    assert settled_precision("bf16", model) == "bf16"
    assert settled_precision("float32", model) == "float32"


def test_the_first_deberta_stays_in_float32(
    first_deberta: DebertaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.accelerator.has_bf16", lambda _: True)
    assert settled_precision("auto", first_deberta) == "float32"
    with pytest.raises(ConfigError, match=r"fails in bf16.*`float32` or `auto`"):
        settled_precision("bf16", first_deberta)


def test_the_first_deberta_still_fails_in_bf16(first_deberta: DebertaModel) -> None:
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="overflow"):
        first_deberta(torch.ones(1, 4, dtype=torch.long))
    assert model_precision._fails_in_bf16(first_deberta)
