"""Runs that are ended and taken up again, in this process."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerState

from footwork.errors import ConfigError, Interrupted, TrainingError
from footwork.files.folders import MANIFEST, write_json
from footwork.training.run import (
    OUTCOME,
    SETTINGS,
    begin_run,
    check_run,
    load_training_state,
    locked,
    newest_checkpoint,
    require_room,
    resumable,
    save_training_state,
    signals_handled,
)
from tests.models import build_base
from tests.runs import quick_ending
from tests.tables import sentiment_rows, sentiment_table
from textclf import TrainConfig, train

TEXTS = [text for text, _ in sentiment_rows(8)]


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    with quick_ending():
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("base"), "bert")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentiment_table(tmp_path_factory.mktemp("data") / "data.csv", 40)


def settings(base: Path, method: Any = "full", **others: Any) -> TrainConfig:
    values = {"num_epochs": 3, "batch_size": 8, "max_length": 48, "save_minutes": 1e-4}
    return TrainConfig(model_id=str(base), method=method, **{**values, **others})


def at(sign: str, *numbers: signal.Signals) -> Callable[[str], None]:
    """A `notify` that ends the run where it says so, the first time."""
    waiting = [sign]

    def notify(said: str) -> None:
        if waiting and waiting[0] in said:
            waiting.clear()
            for number in numbers:
                os.kill(os.getpid(), number)

    return notify


def test_the_second_signal_ends_at_once_and_the_checkpoint_is_whole(
    base: Path, data: Path, tmp_path: Path
) -> None:
    former = signal.getsignal(signal.SIGINT)
    twice = at("step 7/", signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted, match=r"SIGINT .* checkpoint-\d+ is complete") as caught:
        train(data, tmp_path / "out", settings(base), notify=twice)
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) == former
    assert newest_checkpoint(tmp_path / "out.training") is not None
    assert not list((tmp_path / "out.training").glob(".*"))


@pytest.mark.parametrize("stage", ["fitting the baselines", "fresh process"])
def test_a_signal_in_the_final_stage_says_what_is_kept(
    stage: str, base: Path, data: Path, tmp_path: Path
) -> None:
    config, out = settings(base, num_epochs=1), tmp_path / "out"
    with pytest.raises(Interrupted) as caught:
        train(data, out, config, notify=at(stage, signal.SIGTERM))
    assert caught.value.exit_code == 143
    for expected in ("SIGTERM in the final stage", "all 5 steps", f"{out}.training", "--resume"):
        assert expected in str(caught.value)
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.training"]
    train(data, out, config, existing="resume")
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out"]


def end_within_compiled_code() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt as error:
        raise ValueError("no shape") from error


def test_a_signal_that_a_program_around_python_handles_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    former = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    with signals_handled(lambda *_: None):
        assert signal.signal(signal.SIGINT, former) is former


def test_an_interruption_that_a_library_makes_its_own_error_of_is_still_one(
    tmp_path: Path,
) -> None:
    write_json(tmp_path / SETTINGS, {})
    message = "SIGTERM before the first checkpoint"
    with pytest.raises(Interrupted, match=message), resumable(tmp_path):
        end_within_compiled_code()
    with pytest.raises(ValueError, match="own fault"), resumable(tmp_path):
        raise ValueError("own fault")


def test_what_is_published_is_not_resumed_though_a_kill_left_its_run(tmp_path: Path) -> None:
    for folder, name in (("out.training", SETTINGS), ("out", MANIFEST)):
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / name, {"replaces": False})
    with pytest.raises(ConfigError, match="finished: there is nothing to resume"):
        check_run(tmp_path / "out", "resume")


def test_a_kill_at_the_beginning_leaves_a_folder_that_a_run_may_begin_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, deletes = tmp_path / "out.training", shutil.rmtree
    (run / "checkpoint-1").mkdir(parents=True)
    write_json(run / SETTINGS, {"replaces": False})

    def cut_short(folder: Path, **_: bool) -> None:
        (folder / SETTINGS).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut_short)
    with pytest.raises(KeyboardInterrupt):
        begin_run(check_run(tmp_path / "out", "overwrite"), {}, "overwrite", print)
    monkeypatch.setattr(shutil, "rmtree", deletes)
    run.mkdir()
    (run / f".{SETTINGS}.abc").touch()
    begin_run(check_run(tmp_path / "out", "overwrite"), {}, "overwrite", print)
    assert [path.name for path in tmp_path.iterdir()] == [run.name]


def test_a_run_goes_on_with_the_settings_it_began_with(tmp_path: Path) -> None:
    """A version before decoded in one way, and wrote of none."""
    (tmp_path / "out.training").mkdir()
    write_json(tmp_path / "out.training" / SETTINGS, {"replaces": False, "seed": 1})
    place = check_run(tmp_path / "out", "resume")
    assert begin_run(place, {"seed": 1, "decode": "draft"}, "resume", print) is None
    said = "was started with other settings: decode was 'draft', is 'exact'. Use the same ones"
    with pytest.raises(ConfigError, match=said):
        begin_run(place, {"seed": 1, "decode": "exact"}, "resume", print)


def test_weights_that_a_version_grouped_otherwise_are_told(tmp_path: Path) -> None:
    model, state = torch.nn.Linear(2, 2), TrainerState()
    groups = ([{"params": [weight]} for weight in model.parameters()], model.parameters())
    each, together = (torch.optim.AdamW(group, lr=1e-3) for group in groups)
    slow, other = (torch.optim.lr_scheduler.LambdaLR(one, lambda _: 1) for one in (each, together))
    checkpoint = save_training_state(tmp_path, model, together, other, state)
    with pytest.raises(ConfigError, match=r"of another version of Footwork, .* --overwrite"):
        load_training_state(checkpoint, each, slow)


def test_what_decides_nothing_yet_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "out.training"
    run.mkdir()
    begun: dict[str, Any] = {"revision": None, "base_revision": "abc", "learning_rate": 1e-3}
    write_json(run / SETTINGS, begun | {"replaces": False})
    place, on = check_run(tmp_path / "out", "resume"), {"learning_rate": 1e-4, "revision": "abc"}
    begin_run(place, begun | on, "resume", print)
    with pytest.raises(ConfigError, match=r"is 'def'. Use the same ones \(--revision abc\) to"):
        begin_run(place, begun | on | {"base_revision": "def"}, "resume", print)
    write_json(run / OUTCOME, {})  # the training is done
    begin_run(place, begun | on, "resume", print)
    with pytest.raises(ConfigError, match=r"learning_rate was 0.0001, is 0.001"):
        begin_run(place, begun, "resume", print)


def test_a_lock_that_its_holder_deletes_as_it_is_locked_is_not_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deleted_before(*_: object) -> None:
        (tmp_path / ".out.training.lock").unlink()

    monkeypatch.setattr("footwork.files.locks.fcntl.flock", deleted_before)
    said = "Another process trains into .*Wait for it"
    with pytest.raises(ConfigError, match=said), locked(tmp_path / "out.training"):
        pass


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"file cannot be written to: .*Name another folder"),
        locked(tmp_path / "file" / "out.training"),
    ):
        pass


def test_a_run_begins_only_where_four_checkpoints_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torch.nn.Linear(1000, 1000, bias=False)
    room = 4 * 3 * 4_000_000
    for free in (room, room - 1):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("footwork.training.run.shutil.disk_usage", lambda _, usage=usage: usage)
        context = nullcontext() if free == room else pytest.raises(TrainingError, match="46 MiB")
        with context:
            require_room(tmp_path, weights)
