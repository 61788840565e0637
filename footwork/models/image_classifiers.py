"""Image classifiers of transformers: a pretrained encoder of pictures with a head on top."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from footwork.errors import ConfigError
from footwork.models.checkpoints import load_finished, load_part, load_to_train, shape_of
from footwork.models.heads import HeadOrigin, set_labels
from footwork.models.hub import IMAGE_PRESETS, resolve_model_id

_DEPTHS = ("num_hidden_layers", "depths")
"""What a configuration calls its layers: a number of them, or how many each stage has."""


def load_image_classifier(
    model_id: str,
    *,
    labels: Sequence[str],
    revision: str | None = None,
    features_from: int | None = None,
    task: str = "single_label_classification",
    unmerged: bool = False,
) -> tuple[PreTrainedModel, HeadOrigin]:
    """As `load_classifier`, of an encoder of pictures.

    `features_from` keeps so many layers (of a convolutional network: stages) from below; more than
    there are is a `ConfigError`.
    """
    former, config, resolved = _configs(model_id, revision, features_from)
    cut = config.to_dict() != former.to_dict()
    unfit = "it reads an earlier layer than that of the base does" if cut else None
    set_labels(config, labels, task)
    auto_class, configs = AutoModelForImageClassification, (former, config)
    model, head = load_to_train(auto_class, resolved, configs, revision, unfit, unmerged=unmerged)
    freeze_statistics(model)
    return model, head


def load_image_shape(
    model_id: str, revision: str | None = None, features_from: int | None = None
) -> PreTrainedModel:
    """As `load_image_classifier`, without weights, on the meta device."""
    _, config, _ = _configs(model_id, revision, features_from)
    return shape_of(AutoModelForImageClassification, config, model_id)


def load_image_processor(model_id: str, revision: str | None = None) -> Any:
    """The model's own image processor, on Pillow, or a `ModelError`."""
    resolved = resolve_model_id(model_id, IMAGE_PRESETS)
    return load_part(AutoImageProcessor, resolved, revision=revision, backend="pil")


def _configs(
    model_id: str, revision: str | None, features_from: int | None
) -> tuple[PreTrainedConfig, PreTrainedConfig, str]:
    """The configuration of a model, the same cut where features are read, and its resolved id."""
    resolved = resolve_model_id(model_id, IMAGE_PRESETS)
    former = load_part(AutoConfig, resolved, revision=revision)
    config = copy.deepcopy(former)
    if features_from is not None:
        cut_layers(config, features_from)
    return former, config, resolved


def load_trained_image_classifier(folder: Path) -> PreTrainedModel:
    """As `load_trained`, of pictures."""
    return load_finished(folder, AutoModelForImageClassification)


def cut_layers(config: PreTrainedConfig, layers: int) -> None:
    """Let a model end after its first layers, so that the head reads an earlier one.

    Features of a middle layer carry over to pictures of another kind (drawings, scans, X-rays)
    where the last ones have become too special. The configuration is changed in place: what is
    saved later says how deep it is. `layers` are to be kept; of a ResNet or ConvNeXt, stages. Where
    there are not so many, or it does not tell, it is a `ConfigError`.

    Source: Yosinski et al. 2014, section 4 (arXiv:1411.1792).
    """
    tower = getattr(config, "vision_config", config)
    name = next((name for name in _DEPTHS if getattr(tower, name, None)), None)
    # Where each stage halves the picture in another way, cutting takes more than a number.
    if name is None or (name == "depths" and config.model_type not in ("resnet", "convnext")):
        raise ConfigError(
            f"`features_from` cannot cut a {config.model_type}: its configuration does not give "
            "a number of equal layers. Leave it out."
        )
    present = getattr(tower, name)
    depth = present if name == "num_hidden_layers" else len(present)
    if not 1 <= layers <= depth:
        raise ConfigError(f"`features_from` must be from 1 to {depth}, got {layers}.")
    if name == "num_hidden_layers":
        tower.num_hidden_layers = layers
        return
    tower.depths, tower.hidden_sizes = tower.depths[:layers], tower.hidden_sizes[:layers]
    tower.stage_names = ["stem", *(f"stage{number + 1}" for number in range(layers))]
    tower.num_stages = layers


class FrozenStatistics:
    """A batch norm that keeps the mean and variance it was pretrained with.

    A batch of a fine-tuning is small, and its classes are few: its statistics would be noise. The
    scale and shift of the layer may still learn.
    """

    def train(self, mode: bool = True) -> Any:
        """Evaluation mode always: batches are not counted."""
        del mode
        return super().train(False)  # type: ignore[misc]


class FrozenBatchNorm1d(FrozenStatistics, nn.BatchNorm1d):
    """Of vectors."""


class FrozenBatchNorm2d(FrozenStatistics, nn.BatchNorm2d):
    """Of pictures."""


def freeze_statistics(model: nn.Module) -> None:
    """Keep the running statistics of every batch norm as they are."""
    frozen: dict[type, type] = {
        nn.BatchNorm1d: FrozenBatchNorm1d,
        nn.BatchNorm2d: FrozenBatchNorm2d,
    }
    for module in model.modules():
        if kind := frozen.get(type(module)):
            module.__class__ = kind
            module.eval()
