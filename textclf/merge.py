"""An adapter added into its base: a plain folder that any `from_pretrained` reads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError, ModelError
from footwork.evaluation.decision import rule_of
from footwork.files.folders import (
    MANIFEST,
    published_folder,
    read_manifest,
    require_free,
    write_json,
)

LARGEST_DIFFERENCE = 1e-4
_KEPT = ("README.md", "report")


def merge_adapter(
    model: Path | str, out: Path | str, overwrite: bool = False, *, revision: str | None = None
) -> float:
    """Write a plain folder that answers as the adapter over its base does.

    The temperature goes into the weights of the head: probabilities are then calibrated in
    whatever loads the folder, and not in Footwork alone.

    Args:
        model: A trained folder that holds an adapter, or its Hub id.
        out: What to write, complete or not at all.
        overwrite: Replace `out` if it exists.
        revision: Branch, tag or commit on the Hub.

    Returns:
        Largest difference of a logit, the temperature apart, once the new folder was loaded again.

    Raises:
        ConfigError: The folder is plain already, its method cannot be merged, or `out` exists.
        ModelError: It cannot be loaded, or the merged model answers differently.
    """
    from footwork.methods.table import adaptation_of, adapter_in
    from footwork.models.checkpoints import load_trained, save_model
    from footwork.models.hub import trained_folder
    from textclf.classifier import merged
    from textclf.report.model_card import merged_card

    require_free(Path(out), overwrite, (model,))
    model_folder, out = trained_folder(model, revision), Path(out)
    repository = None if model_folder == Path(model).expanduser() else str(model)
    if (model_folder / "config.json").exists() and not adapter_in(model_folder):
        raise ConfigError(
            f"{model} is already plain: it has no adapter to merge, and "
            'pipeline("text-classification") loads it as it is.'
        )
    adapted, tokenizer = load_trained(model_folder)
    before = _probe(adapted, tokenizer)
    plain = merged(adapted)
    if plain is adapted:
        kind = adaptation_of(adapted).kind(adapted)
        raise ConfigError(f"A {kind} adapter has no weights to merge; use {model} as it is.")
    manifest, divisor = _calibrated(plain, tokenizer, _stated(model_folder, plain))
    with published_folder(out, overwrite) as staging:
        save_model(staging, plain)
        tokenizer.save_pretrained(staging)
        _carry_over(model_folder, staging)
        if (card := staging / "README.md").is_file():
            card.write_text(merged_card(card.read_text("utf-8"), manifest, repository), "utf-8")
        write_json(staging / MANIFEST, manifest | {"application": "textclf", "merged": True})
        after = _probe(load_trained(staging)[0], tokenizer) * divisor
        difference = float(abs(after - before).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise ModelError(
                f"Merged, {model} answers differently: logits are off by {difference:.1e}, "
                f"at most {LARGEST_DIFFERENCE:.0e} is rounding. Use the adapter as it is."
            )
    return difference


def _stated(folder: Path, model: Any) -> dict[str, Any]:
    """The manifest of a folder; of one that was made elsewhere, what its model says."""
    manifest = read_manifest(folder)
    rule = rule_of(manifest, model.config)
    return manifest or {"task": rule.task, "labels": list(rule.labels)}


def _calibrated(
    model: Any, tokenizer: Any, manifest: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """Put the temperature of `manifest` into the weights, where a model's logits are linear.

    Returns:
        The manifest of such a model, and what its logits are divided by.
    """
    calibration = manifest.get("calibration") or {}
    temperature = calibration.get("temperature") or 1.0
    if temperature == 1 or not _divide_logits(model, tokenizer, temperature):
        return manifest, 1.0
    moved = {"temperature": 1.0, "temperature_in_weights": temperature}
    return manifest | {"calibration": calibration | moved}, temperature


def _divide_logits(model: Any, tokenizer: Any, divisor: float) -> bool:
    """Divide the last weights that the logits come from; False if they are not these alone."""
    import torch

    before = _probe(model, tokenizer)
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    heads = [module for module in linear if module.out_features == model.config.num_labels]
    weights = list(heads[-1].parameters()) if heads else []
    former = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.div_(divisor)
        after = _probe(model, tokenizer) * divisor
        if float(abs(after - before).max()) <= LARGEST_DIFFERENCE:
            return True
        for weight, value in zip(weights, former, strict=True):
            weight.copy_(value)
    return False


def _carry_over(source: Path, target: Path) -> None:
    for name in _KEPT:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)


def _probe(model: Any, tokenizer: Any) -> Any:
    """Logits (8, C), in float32, of rows of tokens spread over the vocabulary."""
    import torch

    ids = torch.linspace(0, len(tokenizer) - 1, 8 * 24, dtype=torch.float64).long().view(24, 8).T
    if tokenizer.pad_token_id is not None:
        ids = ids.masked_fill(
            ids == tokenizer.pad_token_id, (tokenizer.pad_token_id + 1) % len(tokenizer)
        )
    ids = ids.contiguous()
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
