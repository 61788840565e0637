"""What the training loop does between steps: it reports, saves, and heeds SIGINT and SIGTERM."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from footwork.accelerator import largest_over_processes
from footwork.console import Milestone
from footwork.errors import Interrupted
from footwork.options import LoopConfig
from footwork.training.order import LengthBuckets


class SignalWatch:
    """While active, the first SIGINT or SIGTERM is noted; a second one takes its usual course."""

    def __init__(self) -> None:
        self.caught = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.caught = number
        signal.signal(number, self._former[number])

    def agreed(self) -> int:
        """The signal that any process has caught, 0 for none; all processes must ask together."""
        self.caught = largest_over_processes(self.caught)
        return self.caught

    def raise_if_caught(self, step: int) -> None:
        """End the run after its state was saved.

        Raises:
            Interrupted: A signal was caught.
        """
        if self.caught:
            name = signal.Signals(self.caught).name
            message = (
                f"{name} after step {step}: the state is saved. "
                "Run the same command with --resume (in place of --overwrite) to go on from there."
            )
            raise Interrupted(message, self.caught)


class Progress(TrainerCallback):
    """A milestone for every log entry: where training stands and how long it will take."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock; a resumed run counts from where it resumes."""
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Say what was logged."""
        logs = logs or {}
        if not state.is_world_process_zero:
            return
        if "train_runtime" in logs:
            steps, took = state.global_step, duration(time.monotonic() - self.started)
            self.notify(
                Milestone(f"trained {steps - self.first_step} steps in {took}", steps, steps)
            )
        elif "loss" in logs:
            done = state.global_step - self.first_step
            left = (
                (time.monotonic() - self.started)
                / max(done, 1)
                * (state.max_steps - state.global_step)
            )
            facts = (
                f"epoch {state.epoch:.2f}",
                f"loss {logs['loss']:.4f}",
                f"rate {logs['learning_rate']:.1e}",
            )
            place = f"step {state.global_step}/{state.max_steps}"
            line = "  ".join([place, *facts, f"{duration(left)} left"])
            self.notify(Milestone(line, state.global_step, state.max_steps, ", ".join(facts)))
        else:
            shown = "  ".join(
                f"{name.removeprefix('eval_')} {value:.4f}"
                for name, value in logs.items()
                if name.startswith("eval_")
            )
            self.notify(Milestone(f"validation after step {state.global_step}  {shown}"))


class Keeper(TrainerCallback):
    """Keeps the order of the rows and the state: when to save, and when to stop."""

    def __init__(
        self,
        config: LoopConfig,
        signals: SignalWatch,
        order: LengthBuckets,
        begin_epoch: Callable[[int], None] = lambda _: None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.every = config.save_minutes * 60
        self.patience = config.early_stopping
        self.notify = notify
        self.signals = signals
        self.order = order
        self.begin_epoch = begin_epoch
        self.saved = time.monotonic()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Choose the epoch's order: accelerate's wrappers hide the sampler from the trainer."""
        self.order.set_epoch(int(state.epoch or 0))
        self.begin_epoch(self.order.epoch)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Between two steps everything is whole."""
        stop = bool(self.signals.agreed())
        # The last step of an epoch is followed by an evaluation, which saves; a checkpoint before
        # it would make a resumed run skip that evaluation.
        mid_epoch = state.epoch is not None and state.epoch % 1 != 0
        # Saving ends in a barrier, so all processes must find it due at the same step.
        due = bool(largest_over_processes(int(time.monotonic() - self.saved > self.every)))
        control.should_save = mid_epoch and (stop or due)
        control.should_training_stop = control.should_training_stop or stop

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """A signal within an epoch ends it without the evaluation that belongs to its end."""
        if self.signals.agreed() and state.epoch is not None and state.epoch % 1 != 0:
            control.should_evaluate = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        """Note the best step, save, and stop where nothing has become better for long enough."""
        sign = 1 if args.greater_is_better else -1
        value = sign * metrics[f"eval_{args.metric_for_best_model}"]
        if value > (-math.inf if state.best_metric is None else sign * state.best_metric):
            state.best_global_step = state.global_step
        control.should_save = True
        best = state.best_global_step or 0
        stale = sum("eval_loss" in log and log["step"] > best for log in state.log_history)
        if self.patience and stale >= self.patience:
            self.notify(f"Stopped early: no better for {self.patience} evaluations.")
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start waiting again."""
        self.saved = time.monotonic()


def duration(seconds: float) -> str:
    """Seconds as a person says them: 40 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
