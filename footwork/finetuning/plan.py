"""What a run begins with: rows read, a model loaded for them, and every setting settled."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from footwork.accelerator import settled_precision
from footwork.errors import ConfigError, ModelError
from footwork.evaluation.baselines import frequency_logits
from footwork.files.folders import read_manifest
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import LabelledData
from footwork.finetuning.domains import require_domains
from footwork.finetuning.task import Learner, Notify, Task
from footwork.finetuning.validation import settled_by_validation
from footwork.methods.table import adapter_in, method_names, method_of
from footwork.models.checkpoints import base_of, model_commit
from footwork.models.heads import (
    HeadOrigin,
    can_solve_output,
    scale_output,
    start_output,
    target_scale,
)
from footwork.models.hub import model_folder, resolve_model_id
from footwork.tables.labels import MULTI_LABEL, REGRESSION

Config = TypeVar("Config", bound=FinetuningConfig)


def plan(
    task: Task,
    source: Any,
    config: FinetuningConfig,
    notify: Notify,
    data: LabelledData | None = None,
) -> Learner:
    """Read the rows, load the model for them, and settle what the configuration leaves open.

    Args:
        task: What the application brings.
        source: The rows, as the task reads them.
        config: Every setting.
        notify: Takes what was settled, one sentence each.
        data: The rows, where they have been read before.

    Raises:
        ConfigError: A setting contradicts the task or the model.
        DataError: The rows cannot be read.
        ModelError: The model cannot be loaded, or its head cannot be trained alone.
    """
    config = continued(config, task.presets)
    preparation = task.open(config)
    data = task.read(source, config) if data is None else data
    config.require_task(data.task)
    model, head, scale = load(task, data, config, preparation)
    size = task.encoder_size(model) if config.method_row.has_model else 0
    rows = len(data.splits["train"])
    contrasts = data.contrasts and not head.known and (not size or can_solve_output(model))
    config, why = config.chosen(rows, size, contrasts=contrasts)
    if why:  # `Task.open` has asked only a method that was named
        config.method_row.adaptation.require(model, config)
    if config.target is not None:
        require_domains(task, data, model)
    require_own(data, config)
    settled, sources, said = settle(task, data, config, preparation, model)
    if why:
        sources["method"] = "the number of rows and the size of the encoder"
    base_id, revision, begins = "", None, None
    if config.method_row.has_model:
        base_id = resolve_model_id(config.model_id, task.presets)
        revision = model_commit(base_id, config.revision)
        begins = adapter_note(model_folder(base_id, config.revision), settled)
    if config.continue_adapter:
        base_id, revision = base_of(model_folder(base_id, config.revision))
    for sentence in filter(None, (*why, *said, config.merge_note, begins, head.note)):
        notify(sentence)
    return Learner(
        task=task,
        model=model,
        preparation=preparation,
        source=source,
        data=data,
        config=settled,
        config_sources=sources,
        base_id="tiny" if config.model_id == "tiny" else base_id,
        revision=revision,
        head=head,
        scale=scale,
    )


def continued(config: Config, presets: Mapping[str, str]) -> Config:
    """The configuration with the method and the settings of an adapter that is to go on.

    Raises:
        ConfigError: There is none, it cannot go on, or something else is asked for.
    """
    if not config.continue_adapter:
        return config
    name = config.model_id
    folder = model_folder(resolve_model_id(name, presets), config.revision)
    manifest = read_manifest(folder, verify=False) if adapter_in(folder) else {}
    method, former = manifest.get("method"), manifest.get("config")
    if not isinstance(method, str) or method not in method_names() or not isinstance(former, dict):
        raise ConfigError(
            f"--continue goes on with an adapter that Footwork published, and {name} holds none. "
            "Leave it out to train on what is there."
        )
    adapter = method_of(method).adapter
    if adapter is None or not adapter.continues:
        raise ConfigError(
            f"--continue is impossible with {name}: {method} does not publish all that it trained. "
            "Name its base, or leave it out where the adapter can be merged."
        )
    wanted = {"method": method} | {
        each: former[each] for each in method_of(method).settings if each in former
    }
    for setting, value in wanted.items():
        stated = getattr(config, setting)
        if stated not in (value, type(config).__dataclass_fields__[setting].default):
            raise ConfigError(
                f"`{setting}` of the adapter in {name} is {value}, and stays so with --continue, "
                f"got {stated}. Leave it out."
            )
    return replace(config, **wanted)


def adapter_note(folder: Path, config: FinetuningConfig) -> str | None:
    """What becomes of the adapter in a model's folder, one sentence; None where there is none."""
    if not adapter_in(folder):
        return None
    if config.continue_adapter:
        over = base_of(folder)[0]
        return f"The adapter in {config.model_id} goes on ({config.method}), over {over}."
    needs = "; what is published needs that folder (with --merge nothing)"
    needs = needs if config.publishes_adapter else ""
    return f"The adapter in {config.model_id} is merged into its base, and trained on so{needs}."


def require_own(data: LabelledData, config: FinetuningConfig) -> None:
    """Try the user's loss and metric on rows to validate, before anything runs.

    Raises:
        ConfigError: They give something else than is asked of them.
    """
    targets = data.splits["validation"].targets
    logits = torch.zeros((len(targets), max(len(data.labels), 1)), requires_grad=True)
    if config.loss is not None:
        amounts = targets.astype("float32") if data.task == REGRESSION else targets
        found = config.loss(logits, torch.from_numpy(amounts))
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        if shape != (len(targets),):
            several = len(shape) == 2 and shape == tuple(logits.shape)
            how = (
                "Take their mean: .mean(1)"
                if several
                else "Losses of torch do with reduction='none'"
            )
            raise ConfigError(
                f"`loss` must give one value a row, a tensor of shape ({len(targets)},) for logits "
                f"of {tuple(logits.shape)}, got {shape}. {how}."
            )
    if config.metric is not None:
        with suppress(ModelError):  # of logits that are all alike some have no value
            config.metric.measured(data.task, targets, logits.detach().numpy())


def load(
    task: Task, data: LabelledData, config: FinetuningConfig, preparation: Any
) -> tuple[Any, HeadOrigin, tuple[float, float] | None]:
    """The model as its training begins, where its head comes from, and `Learner.scale`."""
    torch.manual_seed(config.seed)  # of a new head the weights are the seed's
    model, head = task.load(config, data, preparation)
    if config.continue_adapter and not head.kept:
        raise ConfigError(
            f"--continue goes on with the labels of the adapter. {head.note} Leave it out: the "
            "adapter is then merged into its base, and a new one begins on that."
        )
    if config.method_row.solves or not config.method_row.pretrained:
        head = HeadOrigin(kept=False, known=head.known)  # whatever it was, it is not begun with
    return model, head, begin_output(data, config, model, kept=head.kept)


def begin_output(
    data: LabelledData, config: FinetuningConfig, model: Any, *, kept: bool
) -> tuple[float, float] | None:
    """Put an output layer where its training begins; `Learner.scale` of a regression."""
    targets = data.splits["train"].targets
    if not config.method_row.has_model:
        return None
    if data.task == MULTI_LABEL and not kept and config.class_weights == "none":
        start_output(model, frequency_logits(data.task, len(data.labels), targets))
    if data.task != REGRESSION:
        return None
    mean, spread = target_scale(model, targets)
    if kept:
        scale_output(model, 1 / spread, -mean / spread)
    return mean, spread


def settle(
    task: Task, data: LabelledData, config: FinetuningConfig, preparation: Any, model: Any
) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """Fill in what the configuration leaves to the data, to the model and to this machine.

    Of the model the shape is enough: its weights may be on the meta device.

    Returns:
        The configuration of the run; where its values come from, as `FinetuningConfig.settled`
        tells; and what is to be said of it, one sentence each.

    Raises:
        ConfigError: A setting contradicts the task or the model.
    """
    rows, length = config.method_row.epoch(len(data.splits["train"]), task.noun.removesuffix("s"))
    recipe = None
    own, more = task.settle(config, preparation, model)
    if config.method_row.has_model:
        recipe = task.recipe(config, model, rows)
        # Here, so that a run is not resumed elsewhere with other rounding.
        own |= {"mixed_precision": settled_precision(config.mixed_precision, model)}
        own |= settled_by_validation(data, config)
    settled, sources, said = config.settled(data.task, recipe, length, own)
    return settled, sources, (said, *more) if said else more
