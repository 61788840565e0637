from __future__ import annotations

import errno
from collections import namedtuple
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from transformers import Swinv2Config, Swinv2ForImageClassification

from footwork.inference.halving import run_in_batches
from footwork.options import LoopConfig
from footwork.training import trunk as trunk_module
from footwork.training.job import TrainingJob
from footwork.training.loop import run_training
from footwork.training.trunk import JudgingRows, frozen_trunk, trunk_of
from tests.dual_encoders import SIDE
from tests.toy_training import ROWS, build_toy_model, toy_job
from tests.zeroshot.image_towers import build_tower

SETTINGS = {"num_epochs": 3, "learning_rate": 1e-3, "batch_size": 8, "best_metric": "accuracy"}


def upper_half(family: str) -> Any:
    """A classifier of two layers without dropout, of which the upper one and the head train."""
    model = build_toy_model(family)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_prob"):
            part.dropout_prob = 0.0
    stack, _ = trunk_of(model)
    model.base_model.requires_grad_(False)
    stack[1].requires_grad_(True)
    return model


def judging_of(job: TrainingJob) -> JudgingRows:
    """The job's own rows, from the first on but three."""

    def metrics(logits: Any) -> dict[str, float]:
        found, targets = torch.from_numpy(logits), job.targets[: ROWS - 3]
        loss = nn.functional.cross_entropy(found, targets)
        return {
            "loss": float(loss),
            "accuracy": float((found.argmax(-1) == targets).float().mean()),
        }

    return JudgingRows(lambda rows: job.batch(rows, 0), job.lengths[: ROWS - 3], metrics)


def trained(
    family: str, run: Path, *, remembered: bool, **settings: bool
) -> tuple[Any, int, str | None, list[float]]:
    """The model, how often its frozen layer ran, what was said, and the losses it was judged by."""
    model = upper_half(family)
    job, calls = toy_job(model, family), [0]
    config = LoopConfig(**SETTINGS, mixed_precision="float32", **settings)
    judging = judging_of(job)
    run_all = partial(run_in_batches, batch=judging.batch, lengths=judging.lengths)
    every = range(ROWS - 3)
    job = replace(
        job,
        measure=lambda model: judging.metrics(run_all(model, precision="float32", rows=every)),
    )
    trunk_of(model)[0][0].attention.register_forward_hook(
        lambda *_: calls.__setitem__(0, calls[0] + 1)
    )
    run.mkdir()
    kept = frozen_trunk(job, judging, run, "float32") if remembered else nullcontext((job, None))
    with kept as (job, said):
        outcome = run_training(job, config, run, None)
        assert len(list(run.glob("trunk*.f32"))) == (2 if remembered else 0)
    assert not list(run.glob("trunk*"))
    losses = [entry["eval_loss"] for entry in outcome.history if "eval_loss" in entry]
    return model, calls[0], said, losses


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_a_frozen_trunk_runs_once_and_changes_nothing(
    family: str, tmp_path: Path, *, twice: bool
) -> None:
    how = {"activation_checkpointing": twice}
    usual, often, _, judged = trained(family, tmp_path / "usual", remembered=False)
    model, once, said, judged_once = trained(family, tmp_path / "once", remembered=True, **how)
    # Of an epoch 6 steps, and 3 batches that judge; once one row to see the shape, and 32 at a time
    # of the 45 that train and of the 42 that judge, and two rows to see that nothing changes.
    assert (often, once) == (3 * (6 + 3), 2 * (1 + 2) + 1)
    assert judged_once == pytest.approx(judged, abs=1e-4)
    assert judged[0] != pytest.approx(judged[-1], abs=1e-2)
    assert said == "The lowest 1 layer of 2, frozen, ran once, without dropout."
    batch = toy_job(model, family).batch(range(ROWS), 0)
    before, *after = (
        each.eval()(**batch).logits for each in (build_toy_model(family), usual, model)
    )
    torch.testing.assert_close(*after, atol=1e-4, rtol=0)
    assert (after[0] - before).abs().max() > 0.1
    assert not any("forward" in vars(layer) for layer in trunk_of(model)[0])


def test_what_trains_below_leaves_no_trunk(tmp_path: Path) -> None:
    model = upper_half("bert")
    model.base_model.embeddings.LayerNorm.requires_grad_(True)
    job = toy_job(model, "bert")
    with frozen_trunk(job, judging_of(job), tmp_path, "float32") as (same, said):
        assert same is job
        assert said is None
    assert trunk_of(build_toy_model("bert"))[1] == 0


def refused_trunk(job: TrainingJob, run: Path) -> bool:
    with frozen_trunk(job, judging_of(job), run, "float32") as (same, said):
        return same is job and "nothing can stand in" in str(said)


def test_what_cannot_be_stood_in_for_is_run_in_every_epoch(tmp_path: Path) -> None:
    job = toy_job(upper_half("bert"), "bert")

    def padded_on_the_left(rows: Any, epoch: int) -> dict[str, torch.Tensor]:
        return {name: each.flip(1) for name, each in job.batch(rows, epoch).items()}

    assert refused_trunk(replace(job, batch=padded_on_the_left), tmp_path)
    config = Swinv2Config(  # its encoder reads more of each layer than what enters the next
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4
    )
    model = Swinv2ForImageClassification(config)
    model.requires_grad_(False)
    trunk_of(model)[0][-1].requires_grad_(True)
    pixels = {"pixel_values": torch.zeros(2, 3, 32, 32)}
    seen = replace(job, model=model, batch=lambda *_: pixels, lengths=[1] * 2, pad=None)
    assert refused_trunk(seen, tmp_path)


@pytest.mark.parametrize(("free", "kept"), [([9], 0), ([10**9, 9], 1), ([10**9, 10**9], 2)])
def test_what_the_disk_has_no_room_for_is_run_in_every_epoch(
    free: list[int], kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, asked = namedtuple("usage", "total used free"), iter(free)
    monkeypatch.setattr(trunk_module.shutil, "disk_usage", lambda _: usage(0, 0, next(asked)))
    job = toy_job(upper_half("bert"), "bert")
    with frozen_trunk(job, judging_of(job), tmp_path, "float32") as (fed, said):
        assert len(list(tmp_path.iterdir())) == kept
        assert (fed is job) == (kept == 0)
        assert (fed.measure is job.measure) == (kept < 2)
        without = "The frozen layers run in every epoch: the disk has no room for more."
        assert (said == without) == (kept == 0)
    assert not list(tmp_path.iterdir())


def test_a_quota_is_no_end_and_what_a_kill_left_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, left = namedtuple("usage", "total used free"), tmp_path / "trunk-judging.f32"
    free = lambda _: usage(0, 0, 0 if left.exists() else 10**9)  # noqa: E731
    monkeypatch.setattr(trunk_module.shutil, "disk_usage", free)
    job = toy_job(upper_half("bert"), "bert")
    left.touch()
    with frozen_trunk(job, judging_of(job), tmp_path, "float32") as (_, said):
        assert "ran once" in str(said)
    refused = Mock(side_effect=OSError(errno.EDQUOT, "Disk quota exceeded"))
    monkeypatch.setattr(trunk_module.os, "posix_fallocate", refused)
    with frozen_trunk(job, judging_of(job), tmp_path, "float32") as (same, said):
        assert same is job
        assert "no room" in str(said)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", ["resnet", "efficientnet", "vit", "clip"])
def test_image_towers_have_trunks(family: str, tmp_path: Path) -> None:
    model = image_classifier(family, tmp_path).eval()
    stack, _ = trunk_of(model)
    model.requires_grad_(False)
    stack[-1].requires_grad_(True)
    pixels = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    job = replace(
        toy_job(build_toy_model("bert"), "bert"),
        model=model,
        batch=lambda rows, _: {"pixel_values": pixels[list(rows)]},
        lengths=[1] * 5,
        pad=None,
    )
    with torch.inference_mode():
        whole = model(pixel_values=pixels).logits
        with frozen_trunk(job, judging_of(job), tmp_path, "float32") as (fed, said):
            assert said is not None
            batch = fed.batch([3, 1], 7)
            unseen = {**batch, "pixel_values": torch.zeros(2, 3, SIDE, SIDE)}
            torch.testing.assert_close(model(**unseen).logits, whole[[3, 1]], atol=1e-5, rtol=0)


def image_classifier(family: str, folder: Path) -> Any:
    from transformers import AutoModelForImageClassification, EfficientNetConfig

    if family == "efficientnet":
        shape = EfficientNetConfig(image_size=SIDE, width_coefficient=0.2, depth_coefficient=0.2)
        shape.hidden_dim = 256
        return AutoModelForImageClassification.from_config(shape)
    tower = build_tower(folder / "tower", family)
    return AutoModelForImageClassification.from_pretrained(tower)
