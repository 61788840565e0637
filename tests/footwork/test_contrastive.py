"""Encoders that learn from pairs, in the one training loop, on texts and on images alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from footwork.errors import TrainingError
from footwork.methods.contrastive import CONTRASTIVE, Siamese, drawn_pairs, halves, pair_loss
from footwork.methods.table import METHODS, MOST_PAIRS
from footwork.training.loop import run_training
from tests.models import FAMILIES
from tests.tasks import CASES, Case
from tests.toy_training import ROWS, build_toy_model, logged, toy_job
from textclf import TrainConfig
from textclf.audit.audit import audit_table

METHOD = "contrastive"


def test_every_second_pair_is_of_one_class_and_the_others_of_two() -> None:
    classes = np.array([0] * 30 + [1] * 10 + [2] * 5 + [3])
    first, second, same = drawn_pairs(classes, 4000, 0)
    assert same.sum() == 2000
    assert ((classes[first] == classes[second]) == same).all()
    alone = classes[first] == 3
    assert ((first != second) | (alone & same)).all()
    np.testing.assert_allclose(np.bincount(first, minlength=46), 87, atol=45)
    others = np.bincount(second[(classes[first] == 0) & ~same], minlength=46)
    assert (others[30:] > 0).all()
    again = drawn_pairs(classes, 4000, 0)
    np.testing.assert_array_equal(again[1], second)
    assert (drawn_pairs(classes, 4000, 1)[0] != first).any()


def test_of_many_rows_no_table_of_pairs_is_made() -> None:
    classes = np.random.default_rng(0).integers(50, size=300_000)  # 90 billion pairs
    first, second, same = drawn_pairs(classes, 1000, 0)
    assert ((classes[first] == classes[second]) == same).all()
    assert METHODS[METHOD].epoch(len(classes), "row") == (
        MOST_PAIRS,
        f"{MOST_PAIRS:,} pairs of rows",
    )
    assert METHODS[METHOD].epoch(96, "image") == (1920, "1,920 pairs of images")


def test_the_loss_draws_one_class_together_and_two_apart() -> None:
    torch.manual_seed(0)
    features = torch.randn(64, 2, 16, requires_grad=True)
    same = torch.arange(64) % 2 == 0
    pair_loss(features, same).sum().backward()
    moved = (features - 0.05 * features.grad).detach()  # type: ignore[operator]
    before, after = (pair_loss(each, same) for each in (features.detach(), moved))
    assert before.shape == (64,)
    assert (after <= before + 1e-6).all()
    shifted = features.detach() + 5 * torch.arange(1, 129).view(64, 2, 1)
    torch.testing.assert_close(pair_loss(shifted, same), before, atol=1e-4, rtol=0)


def paired(family: str, **settings: Any) -> tuple[Any, TrainConfig]:
    model = build_toy_model(family)
    defaults = {"method": METHOD, "num_epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
    defaults |= {"best_metric": "accuracy", "mixed_precision": "float32"}
    config = TrainConfig(**{**defaults, **settings})
    return CONTRASTIVE.job(toy_job(model, family), config, lambda: None), config


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_split_between_pairs_is_the_same_step(family: str, tmp_path: Path) -> None:
    histories = []
    for parts in (1, 2, 3):
        job, config = paired(family, max_steps=6, gradient_accumulation_steps=parts)
        histories.append(run_training(job, config, tmp_path / str(parts), None))
    for name in ("loss", "grad_norm"):
        one, *others = (logged(each, name) for each in histories)
        assert len(one) == 6
        for other in others:
            assert other == pytest.approx(one, rel=1e-3)


def test_padding_a_pair_further_changes_nothing_it_says() -> None:
    job, _ = paired("bert")
    siamese, batch = job.model.eval(), job.batch([0, 1, 2, 3], 0)
    assert isinstance(siamese, Siamese)
    assert job.pad is not None
    width = batch["input_ids"].shape[1]
    wide = job.pad(batch | {"labels": job.targets[:4]}, width + 10)
    assert wide["input_ids"].shape[1] == width + 10
    assert torch.equal(wide.pop("labels"), job.targets[:4])
    sides = [side["input_ids"][:, : width // 2] for side in halves(wide)]
    assert torch.equal(torch.cat(sides, dim=1), batch["input_ids"])
    with torch.inference_mode():
        torch.testing.assert_close(siamese(**wide).logits, siamese(**batch).logits)


def test_both_rows_of_a_pair_are_named_where_its_loss_is_no_number(tmp_path: Path) -> None:
    job, config = paired("bert")
    spoilt = replace(job, loss=lambda logits, same: pair_loss(logits, same) * torch.nan)
    with pytest.raises(TrainingError, match="Rows of that step: ") as caught:
        run_training(spoilt, config, tmp_path, None)
    named = str(caught.value).partition("Rows of that step: ")[2].partition(". The weights")[0]
    rows = list(map(int, named.split(", ")))
    assert len(rows) > 8  # of eight pairs
    assert sorted(set(rows)) == rows
    assert max(rows) < ROWS


def test_pairs_train_a_classifier_that_is_published_plain(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    config = case.config(base, method=METHOD, num_epochs=1, learning_rate=1e-3)
    done = case.train_here(data, tmp_path / "out", config, notify=said.append)
    assert done.manifest["reload_difference"] < 1e-4
    assert done.manifest["metrics"]["accuracy"]["value"] > 0.8
    assert (tmp_path / "out" / "model.safetensors").exists()
    trained = done.manifest["data"]["rows"]["train"]
    assert any(f"1 epoch of {20 * trained:,} pairs of" in line for line in said)
    assert case.logits(tmp_path / "out", data).shape[1] == len(done.manifest["labels"])


def test_what_pairs_take_is_told_before(tmp_path: Path) -> None:
    data = CASES["texts"].write(tmp_path)
    configs = [TrainConfig(method=each, num_epochs=1) for each in ("full", METHOD)]
    rows, pairs = (audit_table(data, replace(each, model_id="tiny")).cost for each in configs)
    assert rows is not None
    assert pairs is not None
    assert 20 < pairs.minutes / rows.minutes < 60  # two texts a pair, 20 pairs a row
    assert pairs.memory_bytes > rows.memory_bytes
