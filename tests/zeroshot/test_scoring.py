"""Scores are what the models' own code makes of them."""

from __future__ import annotations

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from footwork.prompts.class_embeddings import Scorer

TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 4, "vocab_size": 99}
IMAGE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
IMAGE |= {"num_attention_heads": 4, "image_size": 32, "patch_size": 8}


def answers(model: torch.nn.Module) -> tuple[np.ndarray, torch.Tensor]:
    """Cosines, and the logits that the model gives, for 5 pictures and 7 texts."""
    ids = torch.randint(3, 90, (7, 9))
    ids[:, -1] = 98
    with torch.no_grad():
        out = model.eval()(input_ids=ids, pixel_values=torch.randn(5, 3, 32, 32))
    rows = [torch.nn.functional.normalize(x, dim=-1) for x in (out.image_embeds, out.text_embeds)]
    return (rows[0] @ rows[1].T).numpy(), out.logits_per_image


def test_clip_is_a_softmax_of_its_own_scale() -> None:
    text = TEXT | {"eos_token_id": 98}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=16))
    torch.nn.init.constant_(model.logit_scale, 4.1)
    cosines, logits = answers(model)
    scorer = Scorer(model.logit_scale.exp().item())
    np.testing.assert_allclose(scorer.logits(cosines), logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(scorer.scores(cosines), logits.softmax(dim=-1).numpy(), atol=1e-5)
    np.testing.assert_allclose(scorer.scores(cosines).sum(axis=1), 1)


def test_siglip_is_a_sigmoid_of_its_own_scale_and_bias() -> None:
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=IMAGE))
    torch.nn.init.constant_(model.logit_scale, 2.0)
    torch.nn.init.constant_(model.logit_bias, -3.0)
    cosines, logits = answers(model)
    scorer = Scorer(model.logit_scale.exp().item(), model.logit_bias.item())
    np.testing.assert_allclose(scorer.scores(cosines), logits.sigmoid().numpy(), atol=1e-5)


def test_scores_of_any_scale_stay_finite_and_in_range() -> None:
    cosines = np.array([[1.0, -1.0, 0.0]], np.float32)
    for scorer in (Scorer(1e4), Scorer(1e4, -10.0), Scorer(0.0), Scorer(100.0, 0.0)):
        scores = scorer.scores(cosines)
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1)).all()


def test_one_label_alone_is_certain_with_a_softmax_and_not_with_a_sigmoid() -> None:
    cosines = np.array([[0.2]], np.float32)
    assert Scorer(100.0).scores(cosines).item() == 1.0
    assert Scorer(100.0, -25.0).scores(cosines).item() < 0.01
