"""Two methods on a page: all that the product must be told of them is their code and their rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from footwork.files.folders import write_json
from footwork.methods.adaptation import Adaptation, trainable
from footwork.methods.table import METHODS, Adapter, Method
from footwork.models.parts import encoder_of, head_names

FILE, WEIGHTS = "bottlenecks.json", "adapter_model.safetensors"


class Bottleneck(nn.Module):
    """A linear map, and a small step away from what it says."""

    def __init__(self, linear: nn.Linear, width: int = 4) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.out_features, width)
        self.up = nn.Linear(width, linear.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Any) -> Any:
        said = self.linear(states)
        return said + self.up(functional.gelu(self.down(said)))


class Bottlenecks(Adaptation):
    """Adapters behind every feed-forward block; Houlsby et al. 2019 (arXiv:1902.00751)."""

    def adapt(self, model: Any, config: Any, base_id: str, revision: str | None) -> Any:
        encoder_of(model).requires_grad_(False)
        for name in head_names(model):
            model.get_submodule(name).requires_grad_(True)
        model.adapter_base = {"base_model_name_or_path": base_id, "revision": revision}
        return _with_bottlenecks(model)

    def holds(self, model: Any) -> bool:
        return any(isinstance(module, Bottleneck) for module in model.modules())

    def save(self, folder: Path, model: Any) -> None:
        write_json(folder / FILE, model.adapter_base)
        model.config.save_pretrained(folder)
        save_file({name: each.detach() for name, each in trainable(model)}, folder / WEIGHTS)

    def load(self, folder: Path, base: Any) -> Any:
        model = _with_bottlenecks(base)
        model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        return model

    def kind(self, model: Any) -> str:
        return "bottleneck"


def _with_bottlenecks(model: Any) -> Any:
    for name, module in list(model.named_modules()):
        narrows = isinstance(module, nn.Linear) and module.in_features > module.out_features
        if narrows and re.search(r"\.\d+\.", name):
            model.set_submodule(name, Bottleneck(module))
    return model


class Biases(Adaptation):
    """The biases and the head; BitFit, Ben Zaken et al. 2022 (arXiv:2106.10199)."""

    def adapt(self, model: Any, config: Any, base_id: str, revision: str | None) -> Any:
        heads = tuple(head_names(model))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias") or name.startswith(heads))
        return model


BOTTLENECKS, BIASES = Bottlenecks(), Biases()
ROWS = {
    "bottleneck": Method(
        code="tests.toy_method:BOTTLENECKS",
        trains="small layers between those of the base",
        share=1 / 30,
        rates=METHODS["lora"].rates,
        adapter=Adapter(
            file=FILE, library="footwork", called="a bottleneck adapter on", merges=False
        ),
    ),
    "biases": Method(
        code="tests.toy_method:BIASES",
        trains="the biases, and the head",
        share=1 / 1000,
        rates=METHODS["full"].rates,
    ),
}
