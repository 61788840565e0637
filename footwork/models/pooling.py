"""Which states of an encoder the output layer of a text classifier reads.

Most classifiers read the first token, through a dense layer and an activation. Unless the encoder
is trained, too, that is a poor feature: the mean over the tokens says far more. A model that
cannot be told to average is given one more layer of its own kind, which does: its attention looks
at all tokens evenly, and all else in it hands on. So what is saved stays an ordinary classifier.
"""

from __future__ import annotations

import copy
import re
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from footwork.models.heads import output_layer_name
from footwork.models.pairs import read_apart
from footwork.models.parts import head_names, layer_stack

READINGS = ("own", "first", "mean", "apart")
"""What the model reads by itself; the first token; the mean over the tokens; of pairs, how the two
texts differ, each read by itself (`footwork.models.pairs`)."""
_VALUE = re.compile(r"\.(value|value_proj|v_lin)$")
_HANDED_ON = re.compile(r"attention\.(output\.dense|out_lin)$")
_MEAN_WEIGHT = 16.0
"""Of the mean beside the first token's own state, which a layer adds to it before its norm."""
_GENTLE = 0.25  # scale of a state in front of an activation, which bends it little there
_LIFT = 2.0  # added in front of an activation that cuts off what is below 0
_PROBE = ((5, 9, 6, 8, 7), (9, 6, 5, 0, 0))  # ids of tokens, the last two of them padding


class FeatureReader(nn.Module):
    """A classifier whose `logits` are what its one output layer reads, (B, D).

    With `states` the first token's state and the mean of all follow, (B, D + 2 W). `classifier` is
    the plain one within `model`, if a method has put something around it.
    """

    def __init__(self, model: Any, *, states: bool = False, classifier: Any = None) -> None:
        super().__init__()
        self.model, self.states = model, states
        self.classifier = classifier or model
        self.config = self.classifier.config
        self.layer = output_layer_name(self.classifier)
        self.base = self.classifier.base_model_prefix

    def forward(self, **batch: torch.Tensor) -> Any:
        """Run the model, and listen."""
        read: list[torch.Tensor] = []
        with ExitStack() as hooks:
            layer = self.classifier.get_submodule(self.layer)
            hooks.enter_context(
                layer.register_forward_pre_hook(lambda _, given: read.append(given[0]))
            )
            if self.states:
                base = self.classifier.get_submodule(self.base)
                hooks.enter_context(
                    base.register_forward_hook(lambda *heard: read.append(heard[2][0]))
                )
            self.model(**batch)
        if not self.states:
            return SimpleNamespace(logits=read[0])
        states, own = read
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1)
        return SimpleNamespace(logits=torch.cat([own, states[:, 0], mean], dim=1))


def let_head_read(model: Any, reading: str) -> bool:
    """Let the output layer of a classifier, whose head is new, read one of `READINGS`.

    Says whether the architecture can be made to; if so the model is changed in place, its
    configuration included.
    """
    if reading == "own":
        return True
    if reading == "apart":
        read_apart(model)
        return True
    if hasattr(model.config, "classifier_pooling"):
        model.config.classifier_pooling = "mean" if reading == "mean" else "cls"
        return True
    last = model.get_submodule(output_layer_name(model))
    dense = [
        part
        for name in head_names(model)
        for part in model.get_submodule(name).modules()
        if isinstance(part, nn.Linear) and part is not last
    ]
    if len(dense) > 1 or any(part.weight.shape != last.weight.shape[1:] * 2 for part in dense):
        return False
    if reading == "mean" and not _append_mean(model):
        return False
    for part in dense:
        _hand_on(model, part)
    return True


@torch.no_grad()
def _append_mean(model: Any) -> bool:
    """Append a layer that gives the first token the mean; False, all unchanged, if it would not."""
    name = layer_stack(model)
    if name is None:
        return False
    base, stack = model.eval().base_model, model.get_submodule(name)
    layer = copy.deepcopy(stack[-1])
    for parameter in layer.parameters():
        parameter.zero_()
    for name, part in layer.named_modules():
        if isinstance(part, nn.LayerNorm):
            part.weight.fill_(1.0)
        elif isinstance(part, nn.Linear) and (_VALUE.search(name) or _HANDED_ON.search(name)):
            part.weight.copy_(torch.eye(*part.weight.shape))
            part.weight.mul_(_MEAN_WEIGHT if _HANDED_ON.search(name) else 1.0)
    ids = torch.tensor(_PROBE, device=model.device)
    given = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    before = base(**given).last_hidden_state
    stack.append(layer)
    after = base(**given).last_hidden_state[:, 0]
    means = torch.stack([states[row > 0].mean(0) for states, row in zip(before, ids, strict=True)])
    wanted = _MEAN_WEIGHT * means + before[:, 0]
    spread = wanted.std(1, correction=0, keepdim=True)
    if not torch.allclose(after, (wanted - wanted.mean(1, keepdim=True)) / spread, atol=1e-3):
        del stack[-1]
        return False
    model.config.num_hidden_layers += 1
    model.config.mean_layer = True
    return True


@torch.no_grad()
def _hand_on(model: Any, dense: Any) -> None:
    """Let the dense layer in front of the output layer hand on the state of the first token."""
    dense.weight.zero_()
    dense.bias.fill_(_LIFT)
    # What is squashed, as by a tanh, stays around 0.
    seen = FeatureReader(model)(input_ids=torch.tensor(_PROBE[:1], device=model.device)).logits
    dense.bias.fill_(_LIFT if float(seen.mean()) > 1 else 0.0)
    dense.weight.copy_(_GENTLE * torch.eye(*dense.weight.shape))
