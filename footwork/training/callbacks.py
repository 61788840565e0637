"""What is done between the steps of a training: judge, save, stop, and say where it stands."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from footwork.accelerator import largest_over_processes
from footwork.console import Milestone
from footwork.evaluation.text import duration
from footwork.files.faults import counted
from footwork.training.job import is_better
from footwork.training.run import load_training_state, signals_handled

if TYPE_CHECKING:
    from footwork.training.loop import GuardedTrainer

TIMED_STEPS = 5  # after the first, which also sets up: by them the length of a training is told
LONG = 60.0  # seconds from which on it is


class Keeper(TrainerCallback):
    """Keeps the order of the rows and the state: where to go on, when to save, when to stop."""

    def __init__(self, trainer: GuardedTrainer, caught: CaughtSignal, resume: Path | None) -> None:
        self.every, self.patience = trainer.config.save_minutes * 60, trainer.config.early_stopping
        self.order, self.notify = trainer.order, trainer.job.notify
        self.epochs_between = trainer.epochs_between
        self.caught, self.resume, self.saved = caught, resume, time.monotonic()
        self.judged_rows, self.stepped = trainer.job.judged_rows, trainer.job.stepped

    def on_train_begin(self, *_: Any, optimizer: Any, lr_scheduler: Any, **__: Any) -> None:
        """Put optimizer and schedule where they stood; Trainer finds none of its own files."""
        if self.resume is not None:
            load_training_state(self.resume, optimizer, lr_scheduler)

    def on_epoch_begin(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Choose the epoch's order: accelerate's wrappers hide the sampler from the trainer."""
        self.order.epoch = int(state.epoch or 0)

    def on_optimizer_step(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Let the method look at the update and its gradients."""
        self.stepped(state.global_step)

    def on_step_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        """Between two steps everything is whole."""
        stop = bool(self.caught.agreed())
        # Saving ends in a barrier, so all processes must find it due at the same step.
        due = bool(largest_over_processes(int(time.monotonic() - self.saved > self.every)))
        # An evaluation saves; a checkpoint just before it would make a resumed run skip it.
        control.should_save = not self._is_judged(state) and (stop or due)
        control.should_training_stop = control.should_training_stop or stop

    def on_epoch_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        """No evaluation where none belongs: a signal ends an epoch before its end, too."""
        control.should_evaluate = self._is_judged(state)

    def _is_judged(self, state: TrainerState) -> bool:
        """Whether an evaluation follows the step just made."""
        epoch = state.epoch or 0.0
        return epoch % self.epochs_between == 0 or state.global_step >= state.max_steps

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        """Note the best step, save, and stop where nothing has become better for long enough."""
        logs = {
            log["step"]: {key.removeprefix("eval_"): value for key, value in log.items()}
            for log in state.log_history
            if "eval_loss" in log
        }
        now = {key.removeprefix("eval_"): value for key, value in metrics.items()}
        before = [log for step, log in logs.items() if step < state.global_step]
        best = logs.get(state.best_global_step or 0)
        metric, greater = str(args.metric_for_best_model), bool(args.greater_is_better)
        if is_better(metric, now, best, before, self.judged_rows, greater=greater):
            state.best_global_step = state.global_step
        control.should_save = True
        stale = sum(step > (state.best_global_step or 0) for step in logs)
        if self.patience and stale >= self.patience:
            stopped = f"nothing better than step {state.best_global_step or 0}"
            self.notify(f"Stopped early: {stopped} for {counted(self.patience, 'evaluation')}.")
            control.should_training_stop = True

    def on_save(self, *_: Any, **__: Any) -> None:
        """Start waiting again."""
        self.saved = time.monotonic()


class Progress(TrainerCallback):
    """A milestone for every log entry: where training stands and how long it will take."""

    def __init__(self, notify: Callable[[str], None], *, may_stop: bool) -> None:
        self.notify, self.at_most = notify, "at most " if may_stop else ""

    def on_train_begin(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Start the clock; a resumed run counts from where it resumes."""
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_step_end(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        """Once a few steps are timed, say how long all of them take, where that is long."""
        done = state.global_step - self.first_step
        if done == 1:
            self.first_ended = time.monotonic()
        if done == 1 + TIMED_STEPS and state.is_world_process_zero:
            each = (time.monotonic() - self.first_ended) / TIMED_STEPS
            if (left := each * (state.max_steps - state.global_step)) >= LONG:
                self.notify(
                    f"{each:.1f} s a step: the training takes {self.at_most}some "
                    f"{duration(left)} more, evaluations apart"
                )

    def on_log(
        self, _: Any, state: TrainerState, *__: Any, logs: dict[str, float], **___: Any
    ) -> None:
        """Say what was logged."""
        if not state.is_world_process_zero:
            return
        step, steps = state.global_step, state.max_steps
        done, took = step - self.first_step, time.monotonic() - self.started
        if "train_runtime" in logs:
            said = f"trained {counted(done, 'step')} in {duration(took)}"
            self.notify(Milestone(said, step, step))
        elif "loss" in logs:
            names = ("epoch", "loss", "learning_rate")
            figures: dict[str, Any] = {name: logs[name] for name in names}
            facts = Milestone("", step, steps, **figures).said.split(", ")
            left = f"{self.at_most}{duration(took / max(done, 1) * (steps - step))} left"
            line = "  ".join([f"step {step}/{steps}", *facts, left])
            self.notify(Milestone(line, step, steps, **figures))
        else:
            metrics = {
                name.removeprefix("eval_"): value
                for name, value in logs.items()
                if name.startswith("eval_")
            }
            shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            line = f"validation after step {step}  {shown}"
            self.notify(Milestone(line, step, steps, epoch=state.epoch, metrics=metrics))


@dataclass(slots=True)
class CaughtSignal:
    """The first signal that came; 0 for none."""

    number: int = 0

    def agreed(self) -> int:
        """The one that any process has caught; all processes must ask together."""
        self.number = largest_over_processes(self.number)
        return self.number


@contextmanager
def caught_signal() -> Iterator[CaughtSignal]:
    """Within the block the first SIGINT or SIGTERM is noted; a second takes its usual course."""
    caught = CaughtSignal()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        caught.number = number
        signal.signal(number, usual[signal.Signals(number)])

    with signals_handled(note):
        yield caught
