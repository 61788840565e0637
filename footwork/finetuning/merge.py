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
from footwork.files.paths import user_path
from footwork.finetuning.card import merged_card
from footwork.finetuning.task import Task
from footwork.methods.adaptation import adaptation_of
from footwork.methods.table import adapter_in
from footwork.models.checkpoints import save_model, with_bases
from footwork.models.heads import output_layer, scale_output
from footwork.models.hub import trained_folder

LARGEST_DIFFERENCE = 1e-4


def merge_adapter(
    task: Task,
    model: Path | str,
    out: Path | str,
    overwrite: bool = False,
    *,
    revision: str | None = None,
) -> float:
    """Write a plain folder that answers as the adapter over its base does, as `Interface.merge`."""
    require_free(Path(out), overwrite, with_bases(model))
    folder, out = trained_folder(model, revision), Path(out)
    repository = None if folder == user_path(model) else str(model)
    if (folder / "config.json").exists() and not adapter_in(folder):
        raise ConfigError(f"{model} is already plain: it has no adapter to merge. Use it as it is.")
    adapted, preparation = task.load_trained(folder)
    before = task.probe(adapted, preparation)
    adaptation = adaptation_of(adapted)
    plain = adaptation.merged(adapted)
    if plain is adapted:
        kind = adaptation.kind(adapted)
        raise ConfigError(f"A {kind} adapter has no weights to merge; use {model} as it is.")
    former = read_manifest(folder)
    rule = rule_of(former, plain.config)
    manifest, divisor = calibrated(
        task, plain, preparation, former or {"task": rule.task, "labels": list(rule.labels)}
    )
    with published_folder(out, overwrite) as staging:
        save_model(staging, plain)
        preparation.save_pretrained(staging)
        if (folder / "report").is_dir():
            shutil.copytree(folder / "report", staging / "report")
        if (card := folder / "README.md").is_file():
            told = merged_card(task, card.read_text("utf-8"), manifest, repository)
            (staging / "README.md").write_text(told, "utf-8")
        write_json(staging / MANIFEST, manifest | {"application": task.application, "merged": True})
        after = task.probe(task.load_trained(staging)[0], preparation) * divisor
        difference = float((after - before).abs().max())
        # What is rounding of amounts depends on their unit.
        rounding = LARGEST_DIFFERENCE * (float(before.abs().max()) if not rule.labels else 1)
        if not difference <= rounding:
            raise ModelError(
                f"Merged, {model} answers differently: logits are off by {difference:.1e}, "
                f"at most {rounding:.0e} is rounding. Use the adapter as it is."
            )
    return difference


def calibrated(
    task: Task, model: Any, preparation: Any, manifest: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """Put the temperature of `manifest` into the weights, where a model's logits are linear.

    Returns:
        The manifest of such a model, and what its logits are divided by.
    """
    calibration = manifest.get("calibration") or {}
    temperature = calibration.get("temperature") or 1.0
    if temperature == 1:
        return manifest, 1.0
    before = task.probe(model, preparation)
    former = {key: weight.clone() for key, weight in output_layer(model).items()}
    scale_output(model, 1 / temperature)
    after = task.probe(model, preparation) * temperature
    if float((after - before).abs().max()) <= LARGEST_DIFFERENCE:
        moved = {"temperature": 1.0, "temperature_in_weights": temperature}
        return manifest | {"calibration": calibration | moved}, temperature
    # The logits do not come from these weights alone.
    for key, weight in output_layer(model).items():
        weight.copy_(former[key])
    return manifest, 1.0
