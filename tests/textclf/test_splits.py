"""Validation is like training, and shares no text with it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.errors import DataError
from footwork.evaluation.splits import hold_out, return_unseen, strata
from footwork.tables.labels import MULTI_LABEL, SINGLE_LABEL
from tests.textclf.loading import SKIP, load, rows_of
from textclf.data import DataOptions, normalise_text, text_groups


def test_the_same_seed_holds_out_the_same_rows(tmp_path: Path) -> None:
    first, again, other = (
        load(tmp_path, rows_of([0, 1] * 100), replace(SKIP, seed=seed)).validation.rows
        for seed in (5, 5, 6)
    )
    assert first == again != other


def test_held_out_rows_have_the_shares_of_the_classes(tmp_path: Path) -> None:
    rows = rows_of([*"a" * 300, *"b" * 150, *"c" * 50])
    data = load(tmp_path, rows, replace(SKIP, validation_share=0.2))
    assert np.bincount(data.validation.targets).tolist() == [60, 30, 10]


@pytest.mark.parametrize("task", ["single", "multi", "regression"])
def test_a_repeated_text_never_straddles_the_split(tmp_path: Path, task: str) -> None:
    texts = [f"Text {i % 40}" if i % 3 else f" text  {i % 40} " for i in range(200)]
    rows = [{"text": text, "label": str(i % 5)} for i, text in enumerate(texts)]
    data = load(tmp_path, rows, replace(SKIP, task=task))
    train, held = (set(map(normalise_text, one.texts)) for one in (data.train, data.validation))
    assert held
    assert not train & held


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("task", [SINGLE_LABEL, MULTI_LABEL])
def test_every_class_of_validation_is_in_training(task: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = text_groups([f"t{i}" for i in generator.integers(0, 30, 60)], None)
    targets: Any = generator.integers(0, 15, 60)
    if task == MULTI_LABEL:
        targets = (generator.random((60, 15)) < 0.1).astype(np.float32)
    held = hold_out(groups, strata(targets, task), 0.3, seed)
    held = return_unseen(held, groups, targets, task)
    present = targets > 0 if task == MULTI_LABEL else targets[:, None] == np.arange(15)
    assert held.any()
    assert not (present[held].any(axis=0) & ~present[~held].any(axis=0)).any()
    assert not set(groups[held]) & set(groups[~held])


def test_giving_back_what_training_lacks_holds_no_table_of_rows_by_classes() -> None:
    rows = np.arange(4000)
    tracemalloc.start()
    held = return_unseen(rows < 50, rows, rows, SINGLE_LABEL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not held.any()
    assert peak < 4_000_000


def test_a_class_with_one_row_stays_in_training(tmp_path: Path) -> None:
    data = load(tmp_path, rows_of(["a"] * 10 + ["b"] * 10 + ["rare"]))
    assert data.train.targets.tolist().count(data.labels.index("rare")) == 1


def test_tiny_tables_are_split_or_refused(tmp_path: Path) -> None:
    assert len(load(tmp_path, rows_of(["a", "a", "b"])).validation.texts) == 1
    with pytest.raises(DataError, match="No row can be held out"):
        load(tmp_path, rows_of(["a", "b"]))
    with pytest.raises(DataError, match=r"too few usable rows \(1\)"):
        load(tmp_path, rows_of(["a"]))
    listed = r"too few usable rows \(0\): .*, row 1: 'text' must hold a text, got list\. Training"
    for options in (SKIP, DataOptions(keep_going=True)):
        with pytest.raises(DataError, match=listed):
            load(tmp_path, [{"text": ["a", "b"], "label": "x"}], options)


@pytest.mark.parametrize(("text", "alike"), [(" ", "empty"), ("a b", "the same")])
def test_texts_that_are_all_one_are_told(tmp_path: Path, text: str, alike: str) -> None:
    rows = [{"text": text, "label": label} for label in "ab" * 5]
    with pytest.raises(DataError, match=rf"All texts of .* are {alike}: nothing can be learned"):
        load(tmp_path, rows)
