"""Classifiers of pairs that read the two texts apart, and compare what the encoder says of each.

Usually both stand in one sequence, whose attention compares them: the stronger way, if it is given
enough pairs to learn by. An encoder of sentences compares two of them from the beginning.

Source: InferSent, Conneau et al. 2017, section 3.1 (arXiv:1705.02364), without the vectors as they
are.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from footwork.errors import ModelError
from footwork.inference.tokens import Side
from footwork.models.hub import APART
from footwork.models.parts import encoder_of, head_names

_UNRELATED = 0.5


def reads_apart(model: Any) -> bool:
    """Whether a classifier, or what its features are heard by, takes the sides of its tokens."""
    return getattr(getattr(model, "config", None), APART, False) is True


def can_read_apart(config: PreTrainedConfig) -> bool:
    """Whether an encoder says something of each token, and has no layer of ours that averages."""
    return not (getattr(config, "is_encoder_decoder", False) or getattr(config, "mean_layer", 0))


def read_apart(model: Any) -> None:
    """Let a classifier read two texts apart, in place, if it does not: its head is new."""
    if reads_apart(model):
        return
    model.__class__ = _class_apart(model.__class__)
    setattr(model.config, APART, True)
    model.compare()


def class_for(config: PreTrainedConfig) -> Any:
    """What makes a classifier of texts, or of pairs that are read apart, by its configuration."""
    if getattr(config, APART, False) is not True:
        return AutoModelForSequenceClassification
    known = AutoModelForSequenceClassification._model_mapping
    if type(config) not in known or not can_read_apart(config):
        raise ModelError(
            f"No {config.model_type} of this kind reads two texts apart, as config.json has it "
            f"(`{APART}`). Copy the model's files again."
        )
    return _class_apart(known[type(config)])


class SentenceReader(nn.Module):
    """What the encoder of a classifier says of the two texts apart, as `logits`, (B, 2 W)."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.encoder = encoder_of(classifier)
        self.config = SimpleNamespace(**{APART: True})

    def forward(self, **batch: torch.Tensor) -> Any:
        """Of tokens, their mask and their sides, (B, T) each."""
        return SimpleNamespace(logits=torch.cat(_vectors(self.encoder, **batch), dim=1))


class _Apart:
    """Before a class of transformers: its encoder, and one output layer on a comparison."""

    config: Any
    base_model: Any
    classifier: nn.Linear

    def __init__(self, config: PreTrainedConfig, *given: Any, **named: Any) -> None:
        super().__init__(config, *given, **named)  # type: ignore[call-arg]
        self.compare()

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **_: Any) -> Any:
        """As the auto classes: without weights."""
        return cls._from_config(config)  # type: ignore[attr-defined]

    def compare(self) -> None:
        """Put one output layer, which says nothing yet, in the place of the head."""
        for name in head_names(self):
            owner, _, part = name.rpartition(".")
            # Some encoders call their pooler without asking for it.
            instead = nn.Identity() if owner else None
            setattr(self.get_submodule(owner), part, instead)  # type: ignore[attr-defined]
        at = next(self.base_model.parameters())
        width = 2 * self.config.hidden_size
        # Nothing is drawn by chance: a resumed run goes on as the undisturbed one.
        layer = nn.utils.skip_init(nn.Linear, width, self.config.num_labels, device=at.device)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        self.classifier = layer.requires_grad_(at.requires_grad)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        text_sides: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Of tokens, their mask and sides, (B, T) each; without sides of a text beside itself."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        sides = torch.zeros_like(input_ids) if text_sides is None else text_sides
        features = compared(*_vectors(self.base_model, input_ids, mask, sides))
        return SequenceClassifierOutput(logits=self.classifier(features))

    def save_pretrained(self, folder: Any, **options: Any) -> None:
        """Under a name by which transformers does not take it for one of its own."""
        options |= {"variant": APART}
        super().save_pretrained(folder, **options)  # type: ignore[misc]


@cache
def _class_apart(kind: Any) -> Any:
    return type(f"Apart{kind.__name__}", (_Apart, kind), {"__module__": __name__})


def compared(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """|u - v| and u * v of vectors of two texts, (B, W) each: (B, 2 W)."""
    return torch.cat([(one - two).abs(), one * two], dim=1)


def is_of_sentences(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether vectors of the texts of B pairs, (B, W) each, come from an encoder of sentences.

    It was trained to tell what whole texts mean, and puts unrelated ones far from each other: the
    mean cosine of MiniLM's was 0.06 to 0.22 on three sets, of `tiny`'s, which was trained to guess
    words, 0.80 to 0.82. Those of a plain language model lie in a narrow cone.

    Source: Ethayarajh 2019, section 4.1 (arXiv:1909.00512).
    """
    unrelated = two.roll(len(two) // 2, 0)
    return float((one * unrelated).mean()) < _UNRELATED


def _vectors(
    encoder: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    text_sides: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean vectors of the two texts, (B, W) each; the mean of a product of two is their cosine."""
    sides = [(text_sides == Side.BOTH) | (text_sides == own) for own in (Side.FIRST, Side.SECOND)]
    kept = torch.cat(sides) & attention_mask.bool().repeat(2, 1)
    lengths = kept.sum(1)
    width = max(int(lengths.max()), 1)
    order = kept.logical_not().to(torch.int8).argsort(dim=1, stable=True)[:, :width]
    ids = input_ids.repeat(2, 1).gather(1, order)
    mask = (torch.arange(width, device=ids.device) < lengths[:, None]).to(attention_mask.dtype)
    vectors = _mean_vectors(encoder, ids, mask, lengths)
    # Of mean square 1: |u - v| and u * v are then of the size that weights are used to.
    size = vectors.square().mean(1, keepdim=True).clamp_min(1e-12).rsqrt()
    one, two = (vectors * size).chunk(2)
    return one, two


def _mean_vectors(
    encoder: Any, ids: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Means over the tokens of texts, (2B, W); on a CPU no answer depends on the others.

    There, but while it learns, texts of one length are read together, and none is padded.
    """
    if encoder.training or ids.device.type != "cpu":
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1).clamp_min(1)
    found: torch.Tensor | None = None
    for length in lengths.clamp_min(1).unique().tolist():
        rows = (lengths.clamp_min(1) == length).nonzero()[:, 0]
        alone = {"input_ids": ids[rows, :length], "attention_mask": mask[rows, :length]}
        means = encoder(**alone).last_hidden_state.float().mean(1)
        found = means.new_empty(len(ids), means.shape[1]) if found is None else found
        found[rows] = means
    assert found is not None
    found[lengths == 0] = 0  # of no tokens, as above
    return found
