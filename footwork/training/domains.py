"""Domain adaptation: features that tell the classes, and do not tell two domains apart.

A classifier of domains reads what the output layer reads, and its gradient enters the encoder
reversed. Rows of the target have no class; all that is learned of them is that they are not to be
told from the others.

Source: DANN, Ganin et al. 2016 (arXiv:1505.07818).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from footwork.training.job import FILLER, TrainingJob

_HIDDEN = 100  # units, as in figure 4a
_RATE = 1e-3
"""Peak rate of the domain classifier, which is new: at that of an encoder it would learn nothing
to be reversed."""


def reversal_strength(progress: float) -> float:
    """λ: from 0 to 1 as training goes from 0 to 1, so that a new head is not disturbed at first.

    Source: section 5.2.2.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


def reversed_gradient(features: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """`features`, (B, D), through which a gradient comes back times -`strength`."""
    same = features.clone()
    if same.requires_grad:
        same.register_hook(lambda gradient: -strength * gradient)
    return same


class DomainOutput(nn.Module):
    """An output layer, of D features, that in training tells the domain as well as the class."""

    def __init__(self, output: nn.Linear) -> None:
        super().__init__()
        self.output = output
        self.hidden = nn.Linear(output.in_features, _HIDDEN)
        self.domain = nn.Linear(_HIDDEN, 1)
        self.running_strength: torch.Tensor
        self.register_buffer("running_strength", torch.zeros(()), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) to (B, C), in training to (B, C + 1), the last the logit of the target domain."""
        logits: torch.Tensor = self.output(features)
        if not self.training:
            return logits
        same = reversed_gradient(features, self.running_strength)
        return torch.cat([logits, self.domain(functional.relu(self.hidden(same)))], dim=-1)


@contextmanager
def adversarial(
    job: TrainingJob, place: tuple[nn.Module, str], steps: int, seed: int
) -> Iterator[TrainingJob]:
    """Within the block the output layer tells domains, and the job is one of two domains.

    Each of the three mean losses, of classes and of either domain, counts the same, however many
    rows it is of (equation 9). The last step is the best: rows of the source cannot tell which
    step is best for the target.

    Args:
        job: Of N + M rows, but with the targets of the N that have a class.
        place: A part of the model, or all of it, and the name that the output layer has there.
        steps: Of the whole training.
        seed: Of the domain classifier.
    """
    part, name = place
    layer: Any = part.get_submodule(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        told = DomainOutput(layer).to(layer.weight.device)
    own = [*told.hidden.parameters(), *told.domain.parameters()]
    known, count = len(job.targets), len(job.lengths)
    domains = (torch.arange(count) >= known).float().unsqueeze(1)
    targets = functional.pad(job.targets.float().reshape(known, -1), (0, 0, 0, count - known))
    weights = torch.tensor([count / known, count / (count - known)])

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        domain, classes = targets[:, -1], targets[:, :-1].to(job.targets.dtype)
        of_class = job.loss(logits[:, :-1], classes.reshape(-1, *job.targets.shape[1:]))
        of_domain = functional.binary_cross_entropy_with_logits(
            logits[:, -1], domain, reduction="none"
        )
        of_class = of_class.masked_fill(domain > 0, 0.0)
        return weights.to(domain.device)[domain.long()] * (of_class + of_domain)

    def stepped(step: int) -> None:
        job.stepped(step)
        told.running_strength.fill_(reversal_strength((step + 1) / steps))

    part.set_submodule(name, told)
    try:
        yield replace(
            job,
            numbers=(*job.numbers, *[FILLER] * (count - known)),  # of the target none is named
            targets=torch.cat([targets, domains], dim=1),
            loss=loss,
            parameter_groups=[*job.parameter_groups, {"params": own, "lr": _RATE}],
            stepped=stepped,
            judged_rows=0,
        )
    finally:
        part.set_submodule(name, layer)
