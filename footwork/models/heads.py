"""The output layer of a classifier that is trained on: kept where its labels are ours, else new.

A checkpoint orders its labels in its own way, and rows of weights have no names: loaded as they
stand, the row of one label would answer for another.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from footwork.arrays import AnyArray
from footwork.class_names import class_name
from footwork.errors import ModelError
from footwork.files.faults import shortened
from footwork.methods.table import methods_where
from footwork.tables.labels import REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

_GENERIC = re.compile(r"LABEL_\d+")
TRAINED_COPY = ".modules_to_save.default"
"""What peft puts into the names of weights that are trained beside its adapters."""
_NAMED = 3  # labels that a note names


@dataclass(frozen=True, slots=True)
class HeadOrigin:
    """Where the output layer of a classifier begins."""

    kept: bool
    """Whether it is that of the checkpoint."""
    note: str | None = None
    """Why, one sentence; None for a checkpoint that has no output layer."""
    known: bool = False
    """Whether the checkpoint has learned these classes, even where its layer is not begun with."""


def set_labels(config: PreTrainedConfig, labels: Sequence[str], task: str) -> None:
    """Let a configuration name C labels, in the order of the logits, and a `problem_type`."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: number for number, name in enumerate(labels)}
    config.problem_type = task


def task_of(config: PreTrainedConfig) -> str:
    """The `problem_type` of a classifier; where none is stated, transformers goes by the width."""
    width_alone = REGRESSION if config.num_labels == 1 else SINGLE_LABEL
    return config.problem_type or width_alone


def settle_head(
    model: PreTrainedModel,
    former: PreTrainedConfig,
    report: Mapping[str, Any],
    unfit: str | None = None,
) -> HeadOrigin:
    """Put the rows of a loaded output layer into the order of our labels, or make it new.

    The model was just loaded, with our labels in its configuration; `former` is that of the
    checkpoint, `report` what transformers says of the loading, `unfit` why the layer cannot be
    used, if that is known.
    """
    rows = output_layer(model).keys()
    if not rows or rows & report["missing_keys"]:
        return HeadOrigin(kept=False)
    theirs, ours = _names(former), _names(model.config)
    if unfit := unfit or _difference(former, model.config):
        # What has another shape is new already; the rest, as what a checkpoint lacks.
        old = rows - {key for key, *_ in report["mismatched_keys"]}
        for key in old:
            # The mark by which transformers leaves what was loaded alone.
            model.get_parameter(key)._is_hf_initialized = False
        for owner in sorted({key.rpartition(".")[0] for key in old}):
            model._init_weights(model.get_submodule(owner))
        return HeadOrigin(kept=False, note=f"The output layer is new: {unfit}.")
    order = [0] if task_of(former) == REGRESSION else [theirs.index(name) for name in ours]
    for weight in output_layer(model).values():
        weight.copy_(weight[order])
    if task_of(former) == REGRESSION:
        return HeadOrigin(kept=True, note="The output layer of the base, a regression, is kept.")
    moved = "" if theirs == ours else ", its rows put into the order of ours"
    note = f"The output layer of the base is kept: its labels are the same{moved}."
    return HeadOrigin(kept=True, note=note, known=True)


def output_layer_name(model: PreTrainedModel) -> str:
    """The linear layer, with a bias, that has one row a label; of a method's copies that trains.

    Where there is none, or several, a `ModelError`.
    """
    from torch import nn

    names = {key.rpartition(".")[0] for key in output_layer(model)}
    layer = model.get_submodule(names.pop()) if len(names) == 1 else None
    if copies := getattr(layer, "modules_to_save", None):
        layer = copies["default"]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise ModelError(
            f"{type(model).__name__} has no single linear output layer with a bias, so its head "
            "cannot be solved on features. Use --method "
            f"{methods_where(lambda method: not method.solves)}."
        )
    return next(name for name, part in model.named_modules() if part is layer)


def can_solve_output(model: PreTrainedModel) -> bool:
    """Whether a model has an `output_layer_name`."""
    try:
        output_layer_name(model)
    except ModelError:
        return False
    return True


def _difference(former: PreTrainedConfig, config: PreTrainedConfig) -> str | None:
    """Why two configurations are not of the same labels, None if they are."""
    tasks = task_of(former), task_of(config)
    if tasks[0] != tasks[1]:
        base, own = (task.replace("_", " ") for task in tasks)
        return f"the base was trained for {base}, this is {own}"
    if tasks[0] == REGRESSION:
        return None if former.num_labels == config.num_labels else "the base gives several numbers"
    theirs, ours = _names(former), _names(config)
    if sorted(theirs) == sorted(ours) and not all(map(_GENERIC.fullmatch, theirs)):
        return None
    if all(map(_GENERIC.fullmatch, theirs)):
        return f"the {len(theirs)} labels of the base have no names"
    named, wanted = (shortened(map(repr, names), _NAMED) for names in (theirs, ours))
    return f"the labels of the base are others ({named}, not {wanted})"


def _names(config: PreTrainedConfig) -> list[str]:
    """Of the labels, in the order of the logits, as those of a table are read."""
    names = (str(config.id2label.get(number)) for number in range(config.num_labels))
    return [class_name(name) for name in names]


def output_layer(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """What has one row a label: what grows with one label more, whatever it is called.

    Views of the weights by their keys in a plain model; where a method of peft has put a copy
    beside them that trains, of the copy.
    """
    import torch

    wider = copy.deepcopy(model.config)
    wider.num_labels = model.config.num_labels + 1
    with torch.device("meta"):
        # Not the model itself, whose embedding may be without tokens that do not occur.
        plain, grown = (type(model)(each).state_dict() for each in (model.config, wider))
    grows = {key for key, each in plain.items() if each.shape != grown[key].shape}
    own = {key.replace(TRAINED_COPY, ""): each for key, each in model.state_dict().items()}
    return {key: each for key, each in own.items() if key in grows}


def start_output(model: PreTrainedModel, logits: AnyArray) -> None:
    """Let a new output layer begin with what is known of every row, (C,): its bias, if it has one.

    From a bias of 0 a multi-label head says 0.5 of every label, and where each is rare spends the
    training on saying no.

    Source: focal loss, Lin et al. 2017, section 4.1 (arXiv:1708.02002).
    """
    import torch

    for weight in output_layer(model).values():
        if weight.dim() == 1:
            weight.copy_(torch.from_numpy(logits))


def scale_output(model: PreTrainedModel, factor: float, shift: float = 0.0) -> None:
    """Let a model whose output layer is linear answer with `factor` times its logits + `shift`."""
    for weight in output_layer(model).values():
        weight.mul_(factor)
        if weight.dim() == 1:
            weight.add_(shift)


def target_scale(model: PreTrainedModel, targets: AnyArray) -> tuple[float, float]:
    """Mean and spread by which a regression learns amounts, (N,): as (amount - mean) / spread.

    A head starts near 0 and moves by its learning rate, whatever the unit of the amounts is. The
    model gets them back by `scale_output`; an output layer without a bias can add no mean.
    """
    amounts = targets.astype(np.float64)
    biased = any(weight.dim() == 1 for weight in output_layer(model).values())
    mean = float(amounts.mean()) if biased else 0.0
    return mean, float(np.sqrt(((amounts - mean) ** 2).mean())) or 1.0
