"""AdaLoRA: low-rank adapters, their ranks given to the layers where they are worth most.

peft has its layers. Its allocation of ranks keeps what it knows outside the model, where no
checkpoint finds it; here that stands in buffers.

Source: Zhang et al. 2023 (arXiv:2303.10512).
"""

from __future__ import annotations

from math import ceil
from typing import Any

import torch

from footwork.methods.peft import Peft
from footwork.methods.table import AdaptationConfig

_BEFORE, _AFTER = 0.1, 0.5
"""Share of the steps before ranks are taken away, and after: about as on small data of GLUE."""
_CUTS = 500
"""Times that ranks are taken away in a whole training, at most."""
_PARTS = ("lora_A", "lora_E", "lora_B")
"""Of a layer: (r, D), (r, 1) and (E, r)."""


class AdaLora(Peft):
    """Learned singular values, the least important of which go while training goes on."""

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """With half as many ranks again as it ends with (section 4.1)."""
        from peft import AdaLoraConfig

        rank, first = config.lora_rank, ceil(1.5 * config.lora_rank)
        alpha = config.lora_alpha if config.lora_alpha is not None else 2 * rank
        return AdaLoraConfig(
            target_r=rank,
            init_r=first,
            lora_alpha=alpha / rank * first,  # peft divides by the rank that it begins with
            lora_dropout=config.lora_dropout,
            orth_reg_weight=0.1,  # as in six of the eight tasks of the paper
            total_step=1,  # until `begin` knows
            **shared,
        )

    def begin(self, model: Any, steps: int) -> None:
        """Lay the schedule over the steps, and make room for what is learned of importance."""
        given = model.peft_config["default"]
        given.total_step = steps
        given.tinit, given.tfinal = int(_BEFORE * steps), int(_AFTER * steps)
        given.deltaT = max(1, steps // _CUTS)
        for layer in _layers(model):
            for part in _PARTS:
                for kept in ("sensitivity", "uncertainty"):
                    zeros = torch.zeros_like(getattr(layer, part)["default"], requires_grad=False)
                    layer.register_buffer(f"running_{kept}_{part}", zeros, persistent=False)
            ones = torch.ones_like(layer.lora_E["default"], dtype=torch.bool)
            layer.register_buffer("running_ranks", ones, persistent=False)

    def penalty(self, model: Any) -> torch.Tensor:
        """How far the singular directions are from orthogonal (equation 4)."""
        far = []
        for layer in _layers(model):
            for rows in (layer.lora_A["default"], layer.lora_B["default"].T):
                far.append((rows @ rows.T - torch.eye(len(rows), device=rows.device)).norm())
        weight: float = model.peft_config["default"].orth_reg_weight
        return weight * torch.stack(far).mean()

    @torch.no_grad()
    def stepped(self, model: Any, step: int) -> None:
        """Weigh every direction, and take the least important away (equations 6 to 12)."""
        given, layers = model.peft_config["default"], _layers(model)
        last = given.total_step - given.tfinal
        if step < last:
            for layer in layers:
                _weigh(layer, given.beta1, given.beta2)
        cuts = step == last or (given.tinit < step < last and step % given.deltaT == 0)
        if cuts:
            left = 1 - (step - given.tinit) / (last - given.tinit)
            surplus = int(len(layers) * (given.init_r - given.target_r) * (1 - left**3))
            importance = [_importance(layer) for layer in layers]
            bar = torch.cat(importance).sort().values[surplus]
            for layer, found in zip(layers, importance, strict=True):
                layer.running_ranks.copy_((found >= bar).unsqueeze(1))
        if cuts or step > last:
            for layer in layers:
                layer.lora_E["default"].masked_fill_(~layer.running_ranks, 0.0)

    def end(self, model: Any) -> None:
        """Tell peft the ranks of the best weights, so that it saves no others."""
        ranks = {}
        for name, module in model.base_model.model.named_modules():
            if hasattr(module, "lora_E"):
                used = module.lora_E["default"].flatten() != 0
                used[0] |= not used.any()  # peft cannot save none
                ranks[f"{name}.lora_E.default"] = used.tolist()
        model.peft_config["default"].rank_pattern = ranks


def _layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "lora_E")]


def _weigh(layer: Any, inertia: float, inertia_of_change: float) -> None:
    """Follow how much the loss would change without each weight, and how steadily."""
    for part in _PARTS:
        weight = getattr(layer, part)["default"]
        sensitivity = getattr(layer, f"running_sensitivity_{part}")
        uncertainty = getattr(layer, f"running_uncertainty_{part}")
        now = (weight * weight.grad).abs()
        sensitivity.lerp_(now, 1 - inertia)
        uncertainty.lerp_((now - sensitivity).abs(), 1 - inertia_of_change)


def _importance(layer: Any) -> torch.Tensor:
    """Of each direction, (r,): of its singular value, and on average of its two vectors."""
    right, value, left = (
        getattr(layer, f"running_sensitivity_{part}")
        * getattr(layer, f"running_uncertainty_{part}")
        for part in _PARTS
    )
    importance: torch.Tensor = value.squeeze(1) + right.mean(1) + left.mean(0)
    return importance


ADALORA = AdaLora()
