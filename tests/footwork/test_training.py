from __future__ import annotations

import math
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from footwork import accelerator
from footwork.errors import ConfigError, Interrupted, TrainingError
from footwork.methods.adaptation import Adaptation
from footwork.options import LoopConfig
from footwork.training import callbacks, loop
from footwork.training import run as training_run
from footwork.training.job import FILLER, LengthBuckets
from footwork.training.run import TrainingOutcome, checkpoints, newest_checkpoint
from tests.toy_training import at_forward, build_toy_model, logged, train_toy

Trained = tuple[Any, TrainingOutcome]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What a run comes to when nothing happens to it; no test changes it."""
    return train_toy(tmp_path_factory.mktemp("undisturbed"))


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def times(factor: float) -> Callable[[Any], Any]:
    def spoil(output: Any) -> Any:
        output.logits = output.logits * factor
        return output

    return spoil


def send(number: int) -> Callable[[Any], Any]:
    """A signal comes in the forward pass."""

    def act(output: Any) -> Any:
        os.kill(os.getpid(), number)
        return output

    return act


def run_out_of_memory(_: Any) -> Any:
    raise torch.OutOfMemoryError("injected")


def assert_equal_weights(model: Any, other: Any, tolerance: float = 0.0) -> None:
    for name, tensor in weights(other).items():
        torch.testing.assert_close(weights(model)[name], tensor, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("family", "parts"), [("deberta-v2", 2), ("deberta-v2", 3), ("bert", 4), ("roberta", 4)]
)
def test_accumulation_changes_neither_loss_nor_gradient_norm(
    family: str, parts: int, tmp_path: Path
) -> None:
    _, one = train_toy(tmp_path / "one", family, max_steps=8)
    _, several = train_toy(
        tmp_path / "several", family, max_steps=8, gradient_accumulation_steps=parts
    )
    for name in ("loss", "grad_norm"):
        assert logged(several, name) == pytest.approx(logged(one, name), rel=1e-4)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_a_method_adds_to_the_loss_counts_once_however_a_step_is_split(
    parts: int, tmp_path: Path, undisturbed: Trained
) -> None:
    class Pulled(Adaptation):
        def __init__(self) -> None:
            self.seen: list[tuple[int, bool]] = []

        def penalty(self, model: Any) -> torch.Tensor:
            return 7 + model.classifier.weight.square().sum()

        def stepped(self, model: Any, step: int) -> None:
            self.seen.append((step, model.classifier.weight.grad is not None))

    pulled = Pulled()
    settings = {"gradient_accumulation_steps": parts, "max_steps": 3}
    model, outcome = train_toy(tmp_path / "a", adaptation=pulled, **settings)
    assert pulled.seen == [(0, True), (1, True), (2, True)]
    usual = logged(undisturbed[1], "loss")[0]
    added = 7 + float(build_toy_model().classifier.weight.detach().square().sum())
    assert logged(outcome, "loss")[0] == pytest.approx(usual + added, rel=1e-4)
    assert model.classifier.weight.norm() < undisturbed[0].classifier.weight.norm()


def test_training_learns_the_toy_task_and_keeps_the_best_weights(tmp_path: Path) -> None:
    _, outcome = train_toy(tmp_path, num_epochs=8)
    assert logged(outcome, "eval_accuracy")[-1] > 0.9
    assert outcome.best_step is not None


def test_out_of_memory_splits_the_step_and_changes_nothing_else(
    tmp_path: Path, undisturbed: Trained
) -> None:
    model, expected = undisturbed
    notes: list[str] = []
    split, found = train_toy(tmp_path / "b", hook=at_forward(4, run_out_of_memory), notes=notes)
    assert any("Out of memory at step 4: from here on 4 rows at a time" in note for note in notes)
    assert logged(found, "loss") == pytest.approx(logged(expected, "loss"), rel=1e-5)
    assert logged(found, "learning_rate") == logged(expected, "learning_rate")
    assert_equal_weights(split, model, tolerance=1e-5)


def test_out_of_memory_in_the_backward_pass_leaves_no_half_gradient(
    tmp_path: Path, undisturbed: Trained
) -> None:
    def poison(output: Any) -> Any:
        # The classifier's gradient is already there when the hook of the states below it fires.
        output.logits.grad_fn.next_functions[0][0].register_prehook(run_out_of_memory)
        return output

    split, _ = train_toy(tmp_path / "b", hook=at_forward(4, poison))
    assert_equal_weights(split, undisturbed[0], tolerance=1e-5)


def test_one_row_that_does_not_fit_says_what_to_do(tmp_path: Path) -> None:
    def hook(model: torch.nn.Module) -> None:
        model.register_forward_hook(lambda *_: run_out_of_memory(None))

    with pytest.raises(TrainingError, match=r"step 1 with a single row.*--max-length"):
        train_toy(tmp_path, hook=hook)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_update(
    value: float, tmp_path: Path, undisturbed: Trained
) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step 5.*Rows of that step: \d+"):
        train_toy(run, hook=at_forward(5, times(value)))
    kept = newest_checkpoint(run)
    assert kept is not None
    assert kept.name == "checkpoint-4"
    resumed, _ = train_toy(run, resume=kept)
    assert_equal_weights(resumed, undisturbed[0])


def test_a_gradient_that_is_no_number_stops_before_the_update(tmp_path: Path) -> None:
    def spoil(output: Any) -> Any:
        output.logits.register_hook(lambda gradient: gradient * float("nan"))
        return output

    with pytest.raises(TrainingError, match=r"gradient norm is nan at step 5"):
        train_toy(tmp_path, hook=at_forward(5, spoil))


@pytest.mark.parametrize(
    ("forward", "number"),
    [(3, signal.SIGTERM), *((forward, signal.SIGINT) for forward in (1, 6, 7, 9))],
)
def test_a_signal_saves_and_the_resumed_run_is_the_undisturbed_one(
    forward: int,
    number: int,
    tmp_path: Path,
    undisturbed: Trained,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, expected = undisturbed
    run = tmp_path / "b"
    with pytest.raises(Interrupted, match=r"--resume") as caught:
        train_toy(run, hook=at_forward(forward, send(number)))
    assert caught.value.exit_code == 128 + number
    resumed, found = train_toy(run, resume=newest_checkpoint(run))
    assert "do not match" not in caplog.text  # as Trainer says of settings that differ
    assert_equal_weights(resumed, model)
    assert logged(found, "loss") == logged(expected, "loss")
    assert found.best_step == expected.best_step


@pytest.fixture
def two_threads(undisturbed: Trained) -> Iterator[None]:
    """The run to compare with had one."""
    before = torch.get_num_threads()
    assert undisturbed[1].threads == before == 1
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_are_measured_and_the_steps_that_were_timed_leave_no_trace(
    tmp_path: Path, undisturbed: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(step: Callable[[], object]) -> dict[int, float]:
        step()
        return {2: 0.5, 1: 0.25}

    notes: list[str] = []
    monkeypatch.setattr(accelerator, "threads_are_given", lambda: False)
    monkeypatch.setattr(accelerator, "quickest_threads", measure)
    model, outcome = train_toy(tmp_path, notes=notes)
    said = "1 thread in place of 2: a step takes 0.25 s, with 2 0.5 s. OMP_NUM_THREADS decides"
    assert any(said in note for note in notes)
    assert outcome.threads == 1
    assert_equal_weights(model, undisturbed[0])


def test_a_resumed_run_has_the_threads_that_it_began_with_unless_the_user_has_chosen(
    tmp_path: Path, undisturbed: Trained, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    with pytest.raises(Interrupted):
        train_toy(tmp_path, hook=at_forward(3, send(signal.SIGTERM)))
    shutil.copytree(tmp_path, tmp_path / "again")
    request.getfixturevalue("two_threads")
    notes: list[str] = []
    chosen, outcome = train_toy(
        tmp_path / "again", resume=newest_checkpoint(tmp_path / "again"), notes=notes
    )
    assert outcome.threads == 2
    assert any("began with 1 thread and goes on with 2" in note for note in notes)
    assert_equal_weights(chosen, undisturbed[0], tolerance=1e-3)
    monkeypatch.setattr(accelerator, "threads_are_given", lambda: False)
    resumed, outcome = train_toy(tmp_path, resume=newest_checkpoint(tmp_path))
    assert outcome.threads == 1
    assert_equal_weights(resumed, undisturbed[0])


def test_a_checkpoint_that_is_half_written_or_holds_a_pickle_is_passed_over(tmp_path: Path) -> None:
    train_toy(tmp_path, max_steps=8)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):  # as Trainer would load them
        (newest / name).touch()
        assert newest_checkpoint(tmp_path) != newest
        (newest / name).unlink()
    (newest / "optimizer.safetensors").write_bytes(b"cut short")
    assert newest_checkpoint(tmp_path) != newest


def test_the_two_newest_and_the_best_checkpoint_are_kept(tmp_path: Path) -> None:
    _, outcome = train_toy(tmp_path, num_epochs=5)
    kept = {path.name for path in checkpoints(tmp_path)}
    assert kept == {f"checkpoint-{outcome.best_step}", "checkpoint-24", "checkpoint-30"}


def test_a_damaged_checkpoint_costs_no_more_than_the_steps_since_the_one_before(
    tmp_path: Path, undisturbed: Trained
) -> None:
    run = tmp_path / "b"
    with pytest.raises(TrainingError, match="loss is nan at step 14"):
        train_toy(run, hook=at_forward(16, times(math.nan)))  # two of them are evaluations
    newest = newest_checkpoint(run)
    assert newest is not None
    (newest / "model.safetensors").write_bytes(b"cut short")
    before = newest_checkpoint(run)
    assert before == run / "checkpoint-12"
    resumed, _ = train_toy(run, resume=before)
    assert_equal_weights(resumed, undisturbed[0])


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: Any) -> None:
    save, calls = training_run.save_file, [0]

    def full(*args: Any, **options: Any) -> None:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(28, "No space left on device")
        save(*args, **options)

    monkeypatch.setattr(training_run, "save_file", full)
    with pytest.raises(TrainingError, match=r"No space left.*checkpoint-6 is complete.*--resume"):
        train_toy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-6"]


def test_a_diverged_run_goes_on_with_a_lower_rate(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="resume with a lower --learning-rate"):
        train_toy(tmp_path, hook=at_forward(8, times(math.nan)))
    kept = newest_checkpoint(tmp_path)
    _, outcome = train_toy(tmp_path, resume=kept, learning_rate=1e-5)
    rates = logged(outcome, "learning_rate")
    assert max(rates[:7]) == pytest.approx(1e-3, rel=0.2)
    assert max(rates[7:]) < 1e-5


def test_a_run_that_has_ended_is_not_trained_on(tmp_path: Path) -> None:
    settings = {"num_epochs": 30, "learning_rate": 1e-9, "early_stopping": 2}
    model, outcome = train_toy(tmp_path, **settings)
    again, found = train_toy(tmp_path, resume=newest_checkpoint(tmp_path), **settings)
    assert found == outcome
    assert_equal_weights(again, model)


def test_early_stopping_counts_evaluations_since_the_best(tmp_path: Path) -> None:
    notes: list[str] = []
    _, outcome = train_toy(
        tmp_path, num_epochs=30, learning_rate=1e-20, early_stopping=2, notes=notes
    )
    assert len(logged(outcome, "eval_loss")) == 3
    assert "Stopped early: nothing better than step 12 for 2 evaluations." in notes


def test_a_training_stops_early_unless_that_is_turned_off(tmp_path: Path) -> None:
    for patience, evaluations in (({}, 6), ({"early_stopping": 0}, 8)):
        run = tmp_path / str(evaluations)
        _, outcome = train_toy(run, num_epochs=8, learning_rate=1e-20, **patience)
        assert len(logged(outcome, "eval_loss")) == evaluations


def test_a_long_training_is_judged_at_even_distances_and_resumed_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "EVALUATIONS", 2)
    model, expected = train_toy(tmp_path / "a", num_epochs=5)
    judged = [entry["step"] for entry in expected.history if "eval_loss" in entry]
    assert judged == [18, 30]
    run = tmp_path / "b"
    at_the_end_of_an_epoch = at_forward(12, send(signal.SIGINT))
    with pytest.raises(Interrupted):
        train_toy(run, num_epochs=5, hook=at_the_end_of_an_epoch)
    assert newest_checkpoint(run) == run / "checkpoint-12"
    resumed, found = train_toy(run, num_epochs=5, resume=newest_checkpoint(run))
    assert_equal_weights(resumed, model)
    assert found.history[:-1] == expected.history[:-1]  # the last one holds seconds


def test_how_long_a_long_training_takes_is_said_after_a_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    train_toy(tmp_path / "a", notes=notes)
    assert not any("a step" in note for note in notes)
    monkeypatch.setattr(callbacks, "LONG", 0.0)
    train_toy(tmp_path / "b", notes=notes)
    said = [note for note in notes if "a step" in note]
    assert len(said) == 1
    assert re.fullmatch(r"\d+\.\d s a step: the training takes at most some .* more.*", said[0])


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"multiple of the 3 processes, got 32"):
        LoopConfig(batch_size=32).require_divisible(3)


LENGTHS = np.random.default_rng(0).integers(3, 80, 1003)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 1003])
@pytest.mark.parametrize("complete", [True, False])
def test_every_row_comes_once_an_epoch(rows: int, complete: bool) -> None:
    order = list(LengthBuckets(LENGTHS[:rows], 8, 0, complete=complete))
    assert sorted(index for index in order if index != FILLER) == list(range(rows))
    assert len(order) == len(LengthBuckets(LENGTHS[:rows], 8, 0, complete=complete))
    assert len(order) % 8 == 0 or not complete


def test_batches_hold_rows_of_like_length() -> None:
    order = np.array(list(LengthBuckets(LENGTHS, 8, 0, complete=False)))[:1000].reshape(-1, 8)
    padded = LENGTHS[order].max(1).sum() * 8
    shuffled = np.random.default_rng(1).permutation(1000).reshape(-1, 8)
    assert padded < 1.15 * LENGTHS[order].sum()
    assert padded < 0.75 * LENGTHS[shuffled].max(1).sum() * 8


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        buckets = LengthBuckets(LENGTHS, 8, seed, complete=False)
        buckets.epoch = epoch
        return list(buckets)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_long_batches_do_not_all_come_first() -> None:
    order = np.array(list(LengthBuckets(LENGTHS, 8, 0, complete=False)))[:1000].reshape(-1, 8)
    means = LENGTHS[order].mean(1)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3
