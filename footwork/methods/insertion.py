"""Modules of our own in the layers of a pretrained model: what methods of that kind share.

What trains is what is published: by its names in the model, in one file of weights, and beside it
the JSON that says over which base, and how large the modules are.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save_file
from torch import nn
from transformers import PreTrainedModel

from footwork.errors import ModelError
from footwork.files.folders import write_json
from footwork.files.plain_files import open_plain, read_object
from footwork.methods.adaptation import Adaptation, trainable
from footwork.methods.table import AdaptationConfig, methods_where
from footwork.models.parts import encoder_name, head_names

WEIGHTS = "adapter_model.safetensors"


class Insertion(Adaptation):
    """Freezes a model, and puts modules into its layers, which train beside the head."""

    module: ClassVar[type[nn.Module]]
    """What is put in."""
    file: ClassVar[str]
    """That of its row in the table."""
    setting: ClassVar[str]
    """Of `AdaptationConfig`: how large the modules are."""
    called: ClassVar[str]
    """As people call it."""
    needs: ClassVar[str]
    """What it looks for in a model's layers."""

    @abstractmethod
    def places(self, model: Any) -> dict[str, Any]:
        """Names of what it changes, and what it must know of each; the model stays as it is."""

    @abstractmethod
    def insert(self, model: Any, name: str, known: Any, size: int) -> None:
        """Put a module of a size into one of the `places`, on the device of torch's default."""

    def trains(self, module: nn.Module) -> bool:
        """Whether a module of the encoder trains as well."""
        return False

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a model in whose layers it finds no place."""
        self._found(model)

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """`model` itself, which answers as before."""
        size = getattr(config, self.setting)
        self._insert(model, size, model.device)
        model.published = {"base_model_name_or_path": base_id, "revision": revision}
        model.published[self.setting] = size
        return model

    def save(self, folder: Path, model: Any) -> None:
        """Write what trains, and the base's configuration, which names the labels."""
        write_json(folder / self.file, model.published)
        model.config.save_pretrained(folder)
        weights = {name: each.detach().contiguous() for name, each in trainable(model)}
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    def holds(self, model: Any) -> bool:
        """Whether a model has such modules."""
        return any(isinstance(module, self.module) for module in model.modules())

    def load(self, folder: Path, base: Any) -> Any:
        """`base` itself, with all that trained as the folder has it.

        Raises:
            ValueError: The files hold something else.
        """
        model, published = base, read_object(folder / self.file)
        size = published.get(self.setting)
        if type(size) is not int or size < 1:
            raise ValueError(f"{self.file} says {size!r} of `{self.setting}`, a whole number.")
        with open_plain(folder / WEIGHTS) as file:
            stored = load(file.read())
        self._insert(model, size, "meta")  # whatever size is stated, it takes no memory
        shapes = {name: tuple(each.shape) for name, each in trainable(model)}
        for name in sorted(shapes.keys() ^ stored.keys()):
            fault = "lacks" if name in shapes else "holds, and should not,"
            raise ValueError(f"{WEIGHTS} {fault} {name}.")
        for name, each in stored.items():
            if each.shape != shapes[name] or not each.is_floating_point():
                found = f"{tuple(each.shape)} of {each.dtype}"
                raise ValueError(f"{WEIGHTS} has {name} as {found}, not as {shapes[name]}.")
        model.load_state_dict({n: t.float() for n, t in stored.items()}, strict=False, assign=True)
        model.published = published
        return model

    def kind(self, model: Any) -> str:
        """What people call it."""
        return self.called

    def _insert(self, model: Any, size: int, device: Any) -> None:
        found = self._found(model)
        model.requires_grad_(False)
        for name in head_names(model):
            model.get_submodule(name).requires_grad_(True)
        for module in model.get_submodule(encoder_name(model)).modules():
            if self.trains(module):
                module.requires_grad_(True)
        with torch.device(device):
            for name, known in found.items():
                self.insert(model, name, known, size)

    def _found(self, model: Any) -> dict[str, Any]:
        """The `places` in the numbered layers of the encoder, those of a head apart."""
        lacking = f"has no {self.needs} that a {self.called} adapter could go into"
        heads, found = tuple(f"{name}." for name in head_names(model)), {}
        try:
            found = self.places(model)
        except Exception as error:  # noqa: BLE001 - whatever its code asks for, it is not given it
            if model.device.type == "meta":
                return {}  # as DeBERTa, it needs values: what has its weights tells
            lacking = f"cannot be tried on a bare input ({type(error).__name__}: {error})"
        inside = f"{encoder_name(model)}."
        found = {
            name: known
            for name, known in found.items()
            if name.startswith(inside)
            and re.search(r"\.\d+\.", name)
            and not f"{name}.".startswith(heads)
        }
        if not found:
            raise ModelError(
                f"{type(model).__name__} {lacking}. "
                f"Use --method {methods_where(lambda method: method.adapter is None)}."
            )
        return found


def run_once(model: Any) -> None:
    """Run a classifier on a bare input; on the meta device nothing is computed."""
    if model.main_input_name == "pixel_values":
        tower = getattr(model.config, "vision_config", model.config)
        side = getattr(tower, "image_size", 224)
        sides = side if isinstance(side, Sequence) else (side, side)
        given = torch.zeros(1, getattr(tower, "num_channels", 3), *sides)
    else:
        end = getattr(model.config, "eos_token_id", None)  # BART reads the state of the last one
        given = torch.tensor([[5, 6, end if isinstance(end, int) else 7]])
    with torch.no_grad():
        model.eval()(**{model.main_input_name: given.to(model.device)})
