"""What a method is; those that train weights the model has; and at what rate each learns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from footwork.errors import ConfigError, ModelError
from footwork.methods.head import Solver, solve
from footwork.methods.rates import GENTLE
from footwork.methods.table import AUTO, METHODS, AdaptationConfig, methods_where
from footwork.models.deberta import accelerate_attention
from footwork.models.heads import output_layer_name
from footwork.models.parts import encoder_of, heights_below_head, layer_of, number_of_layers

if TYPE_CHECKING:
    from footwork.finetuning.config import FinetuningConfig
    from footwork.training.job import TrainingJob


class Adaptation:
    """What a method does to a classifier; as it stands here, every weight trains.

    A method overrides what it does otherwise; one that publishes an adapter, also `holds` and all
    that follow.
    """

    solve: Solver = staticmethod(solve)
    """Finds the output layer that a head begins with, or is."""

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a model that the method cannot adapt; its weights may be on the meta device.

        Raises:
            ConfigError: It cannot do so as it is set.
            ModelError: It cannot at all.
        """

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """Freeze what stays and make what trains trainable.

        Args:
            model: A classifier.
            config: The settings of the method.
            base_id: What an adapter names as its base: a Hub id, an absolute folder, or `tiny`.
            revision: Commit of the base on the Hub.

        Returns:
            `model` itself, or what the method has put around it.
        """
        return model

    def resting(self, model: Any, epoch: int) -> Sequence[nn.Parameter]:
        """What could train and does not yet, or no more, in an epoch counted from 0."""
        return ()

    def job(
        self, job: TrainingJob, config: FinetuningConfig, solve_head: Callable[[], None]
    ) -> TrainingJob:
        """What is trained to learn what a job is about; as it stands here, the job itself.

        Args:
            job: On the training rows.
            config: All settings.
            solve_head: Solves the head on the features that the encoder gives just then.
        """
        return job

    def begin(self, model: Any, steps: int) -> None:
        """Make ready for a training of so many steps.

        What a method keeps from step to step stands in buffers whose names begin with `running_`:
        checkpoints have them, so that a resumed run is the undisturbed one.
        """

    def penalty(self, model: Any) -> torch.Tensor | None:
        """What a step adds to the mean loss of its rows."""
        return None

    def stepped(self, model: Any, step: int) -> None:
        """After an update, counted from 0: its gradients are still there."""

    def end(self, model: Any) -> None:
        """Once the best weights are in the model, and before it is judged and saved."""

    def kept_exact(self, model: nn.Module) -> set[nn.Module]:
        """Linear layers whose frozen weights must keep their dtype."""
        return set()

    def save(self, folder: Path, model: Any) -> None:
        """Write the weights and all that `load`, or `from_pretrained`, needs."""
        model.save_pretrained(folder)

    def holds(self, model: Any) -> bool:
        """Whether a model has adapters of this kind in it."""
        return False

    def load(self, folder: Path, base: Any) -> Any:
        """The adapter of a folder over its base, which has the folder's configuration.

        What it raises is told as that the adapter cannot be loaded.
        """
        raise NotImplementedError(f"{folder}, {type(base).__name__}")

    def merged(self, model: Any) -> Any:
        """The plain model that answers as `model` does; `model` itself where there is none."""
        return model

    def kind(self, model: Any) -> str:
        """What the adapter in a model is called."""
        raise NotImplementedError(type(model).__name__)


class Head(Adaptation):
    """The head alone, on a frozen encoder."""

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a model without one linear output layer."""
        output_layer_name(model)

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """Freeze the encoder."""
        encoder_of(model).requires_grad_(False)
        return model


class Gradual(Adaptation):
    """The head trains from the first epoch on, and one layer more from the top in each after it.

    The embeddings come last.

    Source: ULMFiT, Howard & Ruder 2018, section 3.3 (arXiv:1801.06146).
    """

    def resting(self, model: Any, epoch: int) -> list[nn.Parameter]:
        """What is below the layers that have come to train."""
        heights = heights_below_head(model)
        trained = max(heights.values()) - epoch
        return [model.get_parameter(name) for name, height in heights.items() if height <= trained]


class TopLayers(Adaptation):
    """The uppermost layers train, and the head: a quarter of them, unless `top_layers` says.

    "Only a fourth of the final layers need to be fine-tuned to achieve 90% of the original quality"
    (BERT, RoBERTa). A layer is what is numbered first: of a ResNet a stage, of an EfficientNet a
    block.

    Source: Lee, Tang & Lin 2019 (arXiv:1911.03090).
    """

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a model that has not so many layers."""
        depth, wanted = max(heights_below_head(model).values()), config.top_layers or 1
        if wanted > depth:
            raise ConfigError(
                f"`top_layers` must be at most {depth}, the layers of {type(model).__name__}, "
                f"got {wanted}."
            )

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """Freeze what is below."""
        heights = heights_below_head(model)
        depth = max(heights.values())
        below = depth - (config.top_layers or max(1, depth // 4))
        for name, height in heights.items():
            model.get_parameter(name).requires_grad_(height > below)
        return model


class BitFit(Adaptation):
    """The biases train, those of norms among them, and the head.

    Source: Ben Zaken et al. 2021 (arXiv:2106.10199).
    """

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse an encoder without biases."""
        if not any(map(_is_bias, heights_below_head(model))):
            raise ModelError(
                f"{type(model).__name__} has no biases to train. Use --method "
                f"{methods_where(lambda method: method.adapter is not None)}."
            )

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """Freeze all else."""
        for name in heights_below_head(model):
            model.get_parameter(name).requires_grad_(_is_bias(name))
        return model


def _is_bias(name: str) -> bool:
    return name.endswith("bias")  # DeBERTa's first version has a `q_bias`


class Scratch(Adaptation):
    """The architecture without what it was pretrained for: what the pretraining is worth."""

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """Another model of the same configuration; its batch norms count what they see."""
        fresh = type(model)(copy.deepcopy(model.config))
        for module in fresh.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                # transformers begins those of EfficientNet near 0: nothing came through 49 of them.
                module.reset_parameters()
        accelerate_attention(fresh)
        return fresh


FULL, HEAD, GRADUAL, SCRATCH = Adaptation(), Head(), Gradual(), Scratch()
TOP_LAYERS, BITFIT = TopLayers(), BitFit()


def require_adaptable(
    model: PreTrainedModel, config: AdaptationConfig, *, checkpointing: bool
) -> None:
    """Refuse what a model cannot do whatever the data are; its weights may be on the meta device.

    Raises:
        ConfigError: It has no activation checkpointing, or the method cannot do as it is set.
        ModelError: The method finds nothing in it to adapt.
    """
    if checkpointing and not model.supports_gradient_checkpointing:
        name = type(model).__name__
        raise ConfigError(f"{name} has no activation checkpointing. Leave it out.")
    if config.method != AUTO or config.stated_settings:
        config.method_row.adaptation.require(model, config)


def adaptation_of(model: Any) -> Adaptation:
    """The code that saves and merges a model: that of the adapters in it, or of plain models."""
    codes = (method.adaptation for method in METHODS.values() if method.adapter is not None)
    has_parts = isinstance(model, nn.Module)  # a linear model on words has none
    return next((code for code in codes if has_parts and code.holds(model)), Adaptation())


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float,
    solved: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Optimizer groups of what trains: no decay on biases and norms, lower rates for lower layers.

    Layer-wise rates: ULMFiT, Howard & Ruder 2018, section 3.2 (arXiv:1801.06146); used with
    ELECTRA and DeBERTa at 0.8–0.95.

    Args:
        model: Its trainable parameters are taken.
        learning_rate: Peak rate of the head and the topmost layer.
        weight_decay: For matrices alone.
        layer_decay: Rate of a layer relative to the one above; with 1 layers need no groups of
            their own.
        solved: Names of heads that stand at their optimum, and learn at `GENTLE` at most.
    """
    groups: dict[Any, dict[str, Any]] = {}
    # A layer that averages is a head, and learns at the head's rate.
    averages = getattr(getattr(model, "config", None), "mean_layer", False)
    depth = number_of_layers(model) - averages
    for name, parameter in trainable(model):
        below_top, decays = max(depth - layer_of(name, depth), 0), parameter.dim() > 1
        rate = learning_rate * layer_decay**below_top
        # Groups of their own whatever the rates are: those of a checkpoint may be others.
        keeps = any(f".{head}." in f".{name}" for head in solved)
        group = {
            "params": [],
            "lr": min(rate, GENTLE) if keeps else rate,
            "weight_decay": weight_decay if decays else 0.0,
        }
        groups.setdefault((below_top, decays, keeps), group)["params"].append(parameter)
    if not groups:
        raise ConfigError("Nothing is left to train: every parameter is frozen.")
    # In this order a checkpoint numbers what it has of them.
    merged: dict[Any, dict[str, Any]] = {}
    for layer, group in groups.items():
        of_one_rate = layer if layer_decay < 1 else (group["weight_decay"], layer[-1])
        merged.setdefault(of_one_rate, {**group, "params": []})["params"] += group["params"]
    return list(merged.values())


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that take a gradient."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)
