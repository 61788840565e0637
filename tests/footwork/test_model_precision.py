"""A model is run in the dtype that the machine is quick in, where the model can be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from footwork.accelerator import FAIL_IN_BF16, settled_precision
from footwork.errors import ConfigError
from tests.models import WIDTHS

OWN: dict[str, dict[str, Any]] = {
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "xmod": {"languages": ["en"], "default_language": "en"},
}


def build_model(model_type: str) -> Any:
    own = OWN.get(model_type, {})
    config = AutoConfig.for_model(model_type, vocab_size=32, pad_token_id=0, **WIDTHS, **own)
    return AutoModel.from_config(config)


def test_auto_asks_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("bert")
    for has, name in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr("footwork.accelerator.has_bf16", lambda _, has=has: has)
        assert settled_precision("auto", model) == name
    assert settled_precision("bf16", model) == "bf16"
    assert settled_precision("float32", model) == "float32"


@pytest.mark.parametrize("model_type", sorted(FAIL_IN_BF16))
def test_a_model_whose_code_fails_in_bf16_stays_in_float32(
    model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(model_type)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError):
        model(torch.ones(1, 4, dtype=torch.long))  # if it passes, the type need not be listed
    monkeypatch.setattr("footwork.accelerator.has_bf16", lambda _: True)
    assert settled_precision("auto", model) == "float32"
    with pytest.raises(ConfigError, match=rf"type {model_type} fails in bf16.*`auto`"):
        settled_precision("bf16", model)
