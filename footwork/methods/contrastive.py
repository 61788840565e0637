"""An encoder that learns from pairs of rows, of one class near and of two far apart; then a head.

Source: SetFit, Tunstall et al. 2022, section 3 (arXiv:2209.11055), with the loss of Hadsell et al.
2006 that images are taught by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from footwork.arrays import BoolArray, IntArray
from footwork.fewshot.contrastive import pair_losses
from footwork.methods.adaptation import Adaptation
from footwork.methods.table import AdaptationConfig
from footwork.models.heads import output_layer_name
from footwork.models.pooling import FeatureReader
from footwork.training.job import TrainingJob

if TYPE_CHECKING:
    from footwork.finetuning.config import FinetuningConfig

Batch = dict[str, torch.Tensor]


class Contrastive(Adaptation):
    """All weights but the head's, by pairs; the head is solved whenever it is judged."""

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a model without one linear output layer."""
        output_layer_name(model)

    def job(
        self, job: TrainingJob, config: FinetuningConfig, solve_head: Callable[[], None]
    ) -> TrainingJob:
        """The job on pairs of its rows, two inputs a row: so a step may be split between pairs."""
        count, _ = config.method_row.epoch(len(job.targets), "")
        first, second, same = drawn_pairs(job.targets.numpy(), count, config.seed)
        lengths, numbers, pad = np.asarray(job.lengths), np.asarray(job.numbers), job.pad

        def batch(pairs: Sequence[int], epoch: int) -> Batch:
            both = job.batch([*first[pairs].tolist(), *second[pairs].tolist()], epoch)
            return {name: torch.cat(each.chunk(2), dim=1) for name, each in both.items()}

        def pad_pairs(batch: Batch, width: int) -> Batch:
            sides = [pad(side, width // 2) for side in halves(batch)] if pad else []
            return batch | {n: torch.cat([side[n] for side in sides], dim=1) for n in sides[0]}

        def measure(siamese: Any) -> dict[str, float]:
            solve_head()
            return job.measure(siamese.model)

        return replace(
            job,
            model=Siamese(job.model),
            batch=batch,
            targets=torch.from_numpy(same),
            numbers=numbers[np.stack([first, second], axis=1)].tolist(),
            lengths=np.maximum(lengths[first], lengths[second]).tolist(),
            loss=pair_loss,
            measure=measure,
            pad=pad_pairs if pad else None,
        )


CONTRASTIVE = Contrastive()


class Siamese(FeatureReader):
    """A classifier that takes pairs, and gives what its output layer reads of both: (B, 2, D)."""

    def forward(self, **pairs: torch.Tensor) -> Any:
        """One side after the other, so that what is drawn by chance is drawn for each pair."""
        sides = [super(Siamese, self).forward(**side).logits for side in halves(pairs)]
        return SimpleNamespace(logits=torch.stack(sides, dim=1))

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """As of the classifier; Trainer asks for it."""
        self.model.activation_checkpointing_enable(**options)


def halves(pairs: Mapping[str, torch.Tensor]) -> tuple[Batch, Batch]:
    """The two inputs of pairs, which stand side by side along the second axis."""
    parts = {name: each.chunk(2, dim=1) for name, each in pairs.items() if each.dim() > 1}
    return {n: one for n, (one, _) in parts.items()}, {n: two for n, (_, two) in parts.items()}


def pair_loss(features: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Of pairs, (B, 2, D), one loss each, by the angle between them, seen from their own mean."""
    one, two = normalize(features - features.mean(-1, keepdim=True), dim=-1).unbind(1)
    return pair_losses((one * two).sum(-1), same)


def drawn_pairs(classes: IntArray, count: int, seed: int) -> tuple[IntArray, IntArray, BoolArray]:
    """Pairs of rows by chance, every second one of one class, in memory that grows with `count`.

    Args:
        classes: Shape (N,), of at least two.
        count: P.
        seed: The same gives the same pairs.

    Returns:
        The first and the second row of each, (P,), and whether they are of one class; a row that
        is alone of its class is its own pair.
    """
    random = np.random.default_rng(seed)
    order = np.argsort(classes, kind="stable")  # so that the rows of a class stand together
    ordered, same = classes[order], np.arange(count) % 2 == 0
    start, end = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
    place = random.integers(len(classes), size=count)
    size, begin = (end - start)[place], start[place]
    other_of_class = random.integers(np.maximum(size - 1, 1)) + 1
    near = begin + (place - begin + other_of_class) % size
    far = (begin + size + random.integers(len(classes) - size)) % len(classes)
    return order[place], order[np.where(same, near, far)], same
