"""Laws of running a model over many sequences."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from footwork.errors import ModelError
from footwork.evaluation.decision import DecisionRule
from footwork.inference.rounding import DEVIATIONS, RoundingError, measured_error
from footwork.inference.sequences import InferenceConfig, SequenceModel, plan_batches, threads_kept
from footwork.inference.tokens import TokenizedTexts, tokenize
from footwork.options import Precision
from footwork.tables.labels import SINGLE_LABEL
from tests.models import FAMILIES, build_tokenizer
from tests.toy_training import TEXTS, build_toy_model


def sequences(lengths: list[int], seed: int = 0) -> TokenizedTexts:
    generator = np.random.default_rng(seed)
    rows = [generator.integers(1, 50, length).tolist() for length in lengths]
    return TokenizedTexts({"input_ids": rows}, {"input_ids": 0}, left=False)


class MeanOfEmbeddings(nn.Module):
    """Masked mean of embeddings through a linear layer; runs out of memory past `capacity`."""

    def __init__(self, capacity: int = 10**9) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 3)
        self.capacity = capacity
        self.shapes: list[tuple[int, int]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        if input_ids.numel() > self.capacity:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        self.shapes.append((input_ids.shape[0], input_ids.shape[1]))
        mask = attention_mask[..., None]
        mean = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)
        return SimpleNamespace(logits=self.head(mean))


def never_close(logits: np.ndarray) -> np.ndarray:
    return np.full(len(logits), np.inf)


def answers(model: nn.Module, texts: TokenizedTexts, **settings: object) -> np.ndarray:
    config = InferenceConfig(**{"precision": "float32", **settings})  # type: ignore[arg-type]
    return SequenceModel(model, config).logits(texts, never_close)


LENGTHS = [3, 60, 7, 7, 1, 25, 40, 12, 3, 90, 2, 33]


def test_answers_come_in_input_order_whatever_the_batches() -> None:
    model, texts = MeanOfEmbeddings(), sequences(LENGTHS)
    alone = np.concatenate([answers(model, texts.take([row])) for row in range(len(texts))])
    for tokens in (1, 50, 300, 10**6):
        np.testing.assert_allclose(answers(model, texts, batch_tokens=tokens), alone, atol=1e-6)


def test_a_batch_that_does_not_fit_is_split_and_changes_nothing() -> None:
    torch.manual_seed(1)
    roomy = MeanOfEmbeddings()
    tight = MeanOfEmbeddings(capacity=100)
    tight.load_state_dict(roomy.state_dict())
    texts = sequences(LENGTHS)
    split, whole = (answers(model, texts, batch_tokens=1000) for model in (tight, roomy))
    np.testing.assert_allclose(split, whole, atol=1e-6)


def test_a_smaller_batch_is_remembered_after_memory_ran_out() -> None:
    config = InferenceConfig(precision="float32", batch_tokens=1000)
    model, texts = SequenceModel(MeanOfEmbeddings(capacity=100), config), sequences([10] * 40)
    model.logits(texts, never_close)
    tried = []
    model._model._exact.register_forward_pre_hook(
        lambda _module, _args, inputs: tried.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    model.logits(texts, never_close)
    assert max(tried) <= 100


def test_one_text_that_does_not_fit_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(ModelError, match=r"One text of 90 tokens does not fit.*--max-length"):
        answers(MeanOfEmbeddings(capacity=80), sequences(LENGTHS))


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory() -> None:
    with pytest.raises(IndexError):
        answers(MeanOfEmbeddings(), TokenizedTexts({"input_ids": [[99]]}, {"input_ids": 0}, False))
    assert len(answers(MeanOfEmbeddings(), sequences([]))) == 0


@pytest.mark.parametrize("padding", [0.0, 0.125])
def test_batches_cover_every_row_once_within_the_budget(padding: float) -> None:
    lengths = np.sort(np.random.default_rng(0).integers(1, 300, 500))[::-1]
    batches = list(plan_batches(lengths, 1024, padding))
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(500))
    for batch in batches:
        assert len(batch) * lengths[batch[0]] <= 1024
    padded = sum(len(batch) * lengths[batch[0]] for batch in batches)
    assert padded <= (1 + 0.8 * padding) * lengths.sum()


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    batches = list(plan_batches(np.array([5000, 100, 100]), 1024))
    assert [batch.tolist() for batch in batches] == [[0], [1, 2]]


def auto(model: nn.Module, texts: TokenizedTexts) -> SequenceModel:
    """The model as on a CPU that has bf16, its error measured on some texts."""
    rule = DecisionRule(task=SINGLE_LABEL, labels=tuple("abc"))
    error = measured_error(rule, answers(model, texts, precision="bf16"), answers(model, texts))
    with patch("footwork.accelerator.has_bf16", return_value=True):
        return SequenceModel(model, InferenceConfig(precision="auto"), error)


def gap(logits: np.ndarray) -> np.ndarray:
    ordered = np.sort(logits, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def test_bf16_close_calls_are_answered_in_float32() -> None:
    torch.manual_seed(2)
    model, texts = MeanOfEmbeddings(), sequences([5] * 2000)
    exact = answers(model, texts)
    fast = auto(model, sequences([5] * 64, seed=1)).logits(texts, gap)
    assert 0 < np.abs(fast - exact).max() < 0.05
    np.testing.assert_array_equal(fast.argmax(1), exact.argmax(1))
    close = gap(exact) < np.sqrt(np.mean((fast - exact) ** 2))
    assert close.any()
    np.testing.assert_array_equal(fast[close], exact[close])
    assert np.abs(np.mean(fast - exact, axis=0)).max() < 2e-3  # what all err alike is taken away


def test_without_a_measured_error_auto_is_float32() -> None:
    model, texts = MeanOfEmbeddings(), sequences([5] * 50)
    with patch("footwork.accelerator.has_bf16", return_value=True):
        runner = SequenceModel(model, InferenceConfig(precision="auto"))
    np.testing.assert_array_equal(runner.logits(texts, gap), answers(model, texts))


@pytest.mark.parametrize("precision", ["float32", "bf16", "auto"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_depends_on_its_text_alone_to_the_last_bit(family: str, precision: str) -> None:
    model, texts = build_toy_model(family), tokenize(build_tokenizer(family), TEXTS, None, 64)
    typed = cast("Precision", precision)
    quick = SequenceModel(model, InferenceConfig(precision="bf16")).logits(texts)
    half = float(np.median(gap(quick)))
    error = RoundingError(np.zeros(2, np.float32), half / DEVIATIONS)
    with patch("footwork.accelerator.has_bf16", return_value=True):
        runner = SequenceModel(model, InferenceConfig(precision=typed, workers=2), error)
    together = runner.logits(texts, gap)
    if precision == "auto":
        exact = answers(model, texts)
        near = gap(quick) < error.reach
        np.testing.assert_array_equal(together, np.where(near[:, None], exact, quick))
        assert not np.array_equal(quick[near], exact[near])
    alone = [runner.logits(texts.take(slice(i, i + 1)), gap)[0] for i in range(len(texts))]
    np.testing.assert_array_equal(together, alone)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(texts)), 3))
    inputs = {name: [ids[row] for row in order] for name, ids in texts.inputs.items()}
    shuffled = runner.logits(replace(texts, inputs=inputs), gap)
    np.testing.assert_array_equal(shuffled, together[order])


def test_a_text_that_only_lacks_the_memory_of_its_neighbour_is_answered() -> None:
    busy: list[int] = []
    met = threading.Barrier(2, timeout=20)

    class Crowded(MeanOfEmbeddings):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
            busy.append(1)
            try:
                with suppress(threading.BrokenBarrierError):
                    met.wait()  # broken as soon as one of them goes alone
                if len(busy) > 1:
                    met.abort()
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
                return super().forward(input_ids, attention_mask)
            finally:
                busy.pop()

    torch.manual_seed(6)
    crowded, roomy = Crowded(), MeanOfEmbeddings()
    roomy.load_state_dict(crowded.state_dict())
    texts = sequences([60, 60])
    answered = answers(crowded, texts, workers=2, batch_tokens=60)
    np.testing.assert_allclose(answered, answers(roomy, texts), atol=1e-6)


def test_streams_side_by_side_leave_torch_its_threads() -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(usual + 1)
    first, second = threads_kept(), threads_kept()
    with first:
        torch.set_num_threads(1)
        second.__enter__()  # of another thread, which goes on longer
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == usual + 1
    torch.set_num_threads(usual)


def test_workers_answer_side_by_side() -> None:
    names = set()

    class Named(MeanOfEmbeddings):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
            names.add(threading.current_thread().name)
            time.sleep(0.01)
            return super().forward(input_ids, attention_mask)

    answers(Named(), sequences([200] * 12), workers=2, batch_tokens=200)
    assert len(names) == 2


def test_batches_side_by_side_answer_as_one_after_the_other() -> None:
    torch.manual_seed(2)
    model, texts = MeanOfEmbeddings(capacity=150), sequences(LENGTHS)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = answers(model, texts, batch_tokens=100)
        torch.set_num_threads(3)
        np.testing.assert_allclose(answers(model, texts, batch_tokens=100), alone, atol=1e-6)
        np.testing.assert_allclose(answers(model, texts, batch_tokens=1000), alone, atol=1e-6)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
