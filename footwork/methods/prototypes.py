"""The class whose mean is nearest: a head in closed form, but for one number.

The logit of a class is the negative squared distance to the mean of its rows, times a scale. But
for what all classes share that is linear: the weights are 2 * scale * mean, the bias is
-scale * |mean|^2.

Source: prototypical networks, Snell et al. 2017, equation 8 (arXiv:1703.05175).
"""

from __future__ import annotations

import numpy as np
import torch

from footwork.evaluation.splits import StratifiedGroups
from footwork.fewshot.examples import Examples
from footwork.methods.adaptation import Head
from footwork.methods.head import LinearSolution, Loss

SCALES = tuple(2.0 ** (half / 2) for half in range(-4, 21))
"""Of squared distances whose mean is 1; the smoothest answer first."""


def nearest_means(
    features: torch.Tensor,
    targets: torch.Tensor,
    classes: int,
    loss: Loss,
    alike: StratifiedGroups,
    strength: float | None = None,
) -> LinearSolution:
    """The layer of the nearest class mean, as `footwork.methods.head.solve` takes its arguments.

    A mean of n rows is off by 1 / n of what varies within a class, so as much is taken off its
    distances: or a class of fewer rows would be further away. The scale is the one of the least
    loss on rows that were each left out, with its copies, of the mean of their class; of one row a
    class there is none, and the smoothest is taken.
    """
    known = Examples(features.numpy().astype(np.float64), targets.numpy(), classes)
    rows, means = torch.from_numpy(known.embeddings), torch.from_numpy(known.class_means())
    counts = torch.from_numpy(known.counts).double()
    distances = torch.cdist(rows, means).square()
    of_own = torch.nn.functional.one_hot(targets, classes).bool()
    within = distances[of_own].sum() / max(1, len(rows) - classes)
    kinds = alike.groups * classes + known.labels
    _, kind, copies = np.unique(kinds, return_inverse=True, return_counts=True)
    own = counts[targets]
    others = own - torch.from_numpy(copies[kind])
    judged = others > 0
    without = distances - within / counts
    without[of_own] = distances[of_own] * (own / others) ** 2 - within / others
    unit = float(distances.mean()) or 1.0

    def lost(scale: float) -> float:
        return float(loss(-scale / unit * without[judged], targets[judged]).mean())

    scale = strength or (min(SCALES, key=lost) if judged.any() else SCALES[0]) / unit
    weight = 2 * scale * means
    bias = scale * (within / counts - means.square().sum(1))
    # What all classes share changes no answer, and would cost digits.
    weight, bias = weight - weight.mean(0), bias - bias.mean()
    how = "of each class it knows the mean; how sure it is was found by leaving out each row"
    return LinearSolution(weight.float(), bias.float(), how, 0, len(rows), scale)


class Prototypes(Head):
    """The class whose mean is nearest, on a frozen encoder."""

    solve = staticmethod(nearest_means)


PROTOTYPES = Prototypes()
