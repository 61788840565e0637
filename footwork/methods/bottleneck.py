"""Bottleneck adapters: small modules behind attention and feed-forward part of every layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from footwork.methods.insertion import Insertion, run_once


class Bottleneck(nn.Module):
    """A linear layer, and a step away from what it says; at first a step of 0."""

    def __init__(self, linear: nn.Linear, size: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.out_features, size)
        self.up = nn.Linear(size, linear.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., D) to (..., E)."""
        said: torch.Tensor = self.linear(states)
        return said + self.up(functional.gelu(self.down(said)))


class Bottlenecks(Insertion):
    """A bottleneck behind every linear layer whose output is added to the residual stream.

    Norms train as well, as they do in the source.

    Source: Houlsby et al. 2019, section 2 (arXiv:1902.00751).
    """

    module = Bottleneck
    file = "bottleneck_adapter.json"
    setting = "adapter_size"
    called = "bottleneck"
    needs = "layers with a residual stream"

    def places(self, model: Any) -> dict[str, Any]:
        """Linear layers whose output is seen to be added to something of its shape."""
        sums = _Sums()
        hooks = [
            module.register_forward_hook(lambda _, __, said, name=name: sums.listen(name, said))
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear)
        ]
        try:
            with sums:
                run_once(model)
        finally:
            for hook in hooks:
                hook.remove()
        return dict.fromkeys(sums.added)

    def insert(self, model: Any, name: str, known: None, size: int) -> None:
        """Around the linear layer."""
        model.set_submodule(name, Bottleneck(model.get_submodule(name), size))

    def trains(self, module: nn.Module) -> bool:
        """Norms do."""
        return isinstance(module, nn.LayerNorm)


class _Sums(TorchFunctionMode):
    """Within the block, what linear layers say is followed to the sums that it goes into."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[str] = []
        self._said: dict[int, tuple[str, torch.Tensor]] = {}  # kept, so that no id comes twice

    def listen(self, name: str, said: torch.Tensor) -> None:
        """Note what the layer of a name says."""
        self._said[id(said)] = name, said

    def __torch_function__(self, called: Any, _: Any, args: Any = (), given: Any = None) -> Any:
        answer = called(*args, **(given or {}))
        heard = [self._said[id(each)] for each in args if id(each) in self._said]
        names = [name for name, _ in heard]
        if called.__name__ in ("add", "add_") and len(set(names)) == len(names):
            shapes = [getattr(each, "shape", None) for each in args]
            found = [name for name, said in heard if shapes.count(said.shape) == 2]
            self.added += [name for name in found if name not in self.added]
        elif called.__name__ in ("mul", "pow") and heard:
            # By a layer's scale, as in BEiT; or in a GELU, which adds powers of what is said to it.
            self.listen(names[0], answer)
        return answer


BOTTLENECKS = Bottlenecks()
