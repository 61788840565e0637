"""The one training loop: transformers' Trainer, with the guards that it lacks.

- Every loss is the sum over rows divided by the rows of the whole step, so that accumulation and
  several processes change nothing.
- Not a number, or infinite: stops before the update.
- Out of memory: the step is done again in smaller parts, and nothing else changes.
- Checkpoints are complete or absent; a signal saves one, then stops.
- Every step is seeded by the run's seed and the step, so a resumed run is the undisturbed run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerControl
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from footwork.accelerator import (
    compute_device,
    free_cached_memory,
    gather_shares,
    is_main_process,
    is_out_of_memory,
    largest_over_processes,
    resolve_precision,
    sum_over_processes,
)
from footwork.errors import TrainingError
from footwork.methods.table import methods_where
from footwork.options import LoopConfig
from footwork.training.callbacks import Keeper, Progress, SignalWatch
from footwork.training.dropout import RowDropout
from footwork.training.job import TrainingJob, TrainingOutcome, training_arguments
from footwork.training.memory import without_gradient
from footwork.training.order import FILLER, LengthBuckets
from footwork.training.state import (
    checkpoints,
    finished_outcome,
    load_training_state,
    load_weights,
    record_outcome,
    remove_checkpoints,
    require_room,
    save_training_state,
    set_peak_rates,
)


def run_training(
    job: TrainingJob, config: LoopConfig, run: Path, resume: Path | None
) -> TrainingOutcome:
    """Train `job.model` in place and leave its best weights in it.

    Args:
        job: What to train.
        config: How; every rate and length is resolved.
        run: Folder of the checkpoints.
        resume: Checkpoint to go on from.

    Raises:
        TrainingError: The loss or the gradient is not finite, memory does not suffice for one row,
            or a checkpoint cannot be written.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    run.mkdir(parents=True, exist_ok=True)
    require_room(run, job.model)
    if resume is not None:
        job.notify(f"Going on from {resume.name}.")
        load_weights(resume, job.model)
    outcome = finished_outcome(run) if resume is not None else None
    if outcome is None:
        with SignalWatch() as signals:
            trainer = GuardedTrainer(job, config, run, signals)
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            signals.agreed()
            signals.raise_if_caught(trainer.state.global_step)
        state = trainer.state
        outcome = TrainingOutcome(state.log_history, state.global_step, state.best_global_step)
        if is_main_process():
            record_outcome(run, outcome)  # a run that is resumed later must not train on
    if outcome.best_step and outcome.best_step != outcome.steps:
        load_weights(run / f"checkpoint-{outcome.best_step}", job.model)
    return outcome


class GuardedTrainer(Trainer):
    """`Trainer` with exact accumulation, finite updates, memory splits and whole checkpoints."""

    def __init__(
        self, job: TrainingJob, config: LoopConfig, run: Path, signals: SignalWatch
    ) -> None:
        self.job, self.config, self.run, self.signals = job, config, run, signals
        self.buckets = LengthBuckets(job.lengths, config.batch_size, config.seed, complete=False)
        keeper = Keeper(config, signals, self.buckets, job.begin_epoch)
        super().__init__(
            model=job.model,
            args=training_arguments(config, run, len(job.lengths)),
            train_dataset=job.dataset,
            eval_dataset=job.dataset,  # never read: `evaluate` asks the job
            data_collator=job.collate,
            callbacks=[Progress(job.notify), keeper],
        )
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.buckets.complete = self.args.world_size > 1
        self.bf16 = resolve_precision(config.mixed_precision, compute_device()) == torch.bfloat16
        self.share = config.batch_size // self.args.world_size
        self.micro_rows = math.ceil(self.share / config.gradient_accumulation_steps)

    # Data order

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBuckets:  # noqa: ARG002
        return self.buckets

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["labels", "row_weight", "row"]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:  # noqa: ARG002
        """AdamW over the job's groups; the groups carry their own rates and decay."""
        self.optimizer = torch.optim.AdamW(self.job.parameter_groups, fused=True)
        return self.optimizer

    # One step

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Gradients of one whole step, in as many parts as memory asks for."""
        model.train()
        inputs = self._prepare_inputs(self._of_one_length(inputs))
        rows = inputs.pop("row").tolist()
        total = sum_over_processes(inputs["row_weight"].sum())
        while True:
            failure = None
            try:
                with without_gradient(self._resting()):
                    loss = self._accumulate(model, inputs, total)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error)
            self._split(failure)  # outside the handler, whose traceback holds the tensors
        loss = sum_over_processes(loss)
        if not torch.isfinite(loss):
            self._stop("loss", float(loss), rows)
        self._sum_gradients()
        self.last_rows = rows
        return loss

    def _accumulate(
        self, model: nn.Module, inputs: Mapping[str, torch.Tensor], total: torch.Tensor
    ) -> torch.Tensor:
        loss_sum = torch.zeros((), device=total.device)
        for start in range(0, len(inputs["labels"]), self.micro_rows):
            part = {name: value[start : start + self.micro_rows] for name, value in inputs.items()}
            labels, weight = part.pop("labels"), part.pop("row_weight")
            torch.manual_seed(self.config.seed * 1_000_003 + self.state.global_step)
            with self._whole_masks(start, len(weight), int(total)), self._no_sync(model):
                # Not by accelerate, which would leave its autocast in the model's `forward`.
                with torch.autocast(total.device.type, torch.bfloat16, enabled=self.bf16):
                    logits = model(**part).logits.float()
                loss = (self.job.loss(logits, labels) * weight).sum() / total
                self.accelerator.backward(loss)
            loss_sum += loss.detach()
        return loss_sum

    def _whole_masks(self, start: int, rows: int, total: int) -> AbstractContextManager[Any]:
        """Dropout masks of the whole step; free where one part is the whole step."""
        if rows == total:
            return nullcontext()
        return RowDropout(self.args.process_index * self.share + start, rows, total)

    def _no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        # Gradients are added up once a step, by hand: a process that splits a step on its own
        # would otherwise leave the others waiting inside DDP's reduction.
        return self.accelerator.no_sync(model)

    def _resting(self) -> Sequence[nn.Parameter]:
        return self.job.resting(self.buckets.epoch)

    def _sum_gradients(self) -> None:
        if self.args.world_size == 1:
            return
        resting = set(map(id, self._resting()))
        for group in self.job.parameter_groups:
            for parameter in group["params"]:
                if id(parameter) in resting:
                    continue  # a gradient of zeros would let its weight decay
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                sum_over_processes(parameter.grad)

    def _of_one_length(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Pad to the longest row of all processes: a dropout mask has the shape of the batch."""
        if self.args.world_size == 1 or self.job.pad is None:
            return inputs
        longest = largest_over_processes(inputs["input_ids"].shape[1])
        return self.job.pad(inputs, longest)

    def _split(self, failure: str) -> None:
        self.model.zero_grad(set_to_none=True)
        free_cached_memory()
        if self.micro_rows == 1:
            message = (
                f"Out of memory at step {self.state.global_step + 1} with a single row: {failure} "
                "Lower --max-length, add --activation-checkpointing, or use --method "
                f"{methods_where(lambda method: method.share < 1)}."
            )
            raise TrainingError(message)
        self.micro_rows = math.ceil(self.micro_rows / 2)
        self.job.notify(
            f"Out of memory at step {self.state.global_step + 1}: from here on {self.micro_rows} "
            f"rows at a time. The step still counts {self.config.batch_size} rows."
        )

    # Guards

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(norm):
            self._stop("gradient norm", float(norm), self.last_rows)
        return norm

    def _stop(self, what: str, value: float, rows: list[int]) -> None:
        """Save the last good weights and say where it went wrong, before any update."""
        self.model.zero_grad(set_to_none=True)
        step = self.state.global_step + 1
        self._save_checkpoint(self.model, None)
        of_all = sorted(row for part in gather_shares(rows) for row in part if row != FILLER)
        shown = ", ".join(map(str, of_all))
        message = (
            f"The {what} is {value} at step {step}; the update was not made. "
            f"Rows of that step: {shown}. The weights before it are in "
            f"{self.run / f'checkpoint-{step - 1}'}. Look at those rows, or resume with a lower "
            "--learning-rate."
        )
        raise TrainingError(message)

    # Evaluation and checkpoints

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Metrics by the job's own measure, logged under `eval_`."""
        self.model.eval()
        metrics = {f"eval_{name}": value for name, value in self.job.measure(self.model).items()}
        self.log(dict(metrics))
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        improved = bool(super()._determine_best_metric(metrics, trial))
        if improved:
            self.state.best_global_step = self.state.global_step
        self.control.should_save = True
        patience = self.config.early_stopping
        if patience and not improved and self._stale_evaluations() >= patience:
            self.job.notify(f"Stopped early: no better for {patience} evaluations.")
            self.control.should_training_stop = True
        return improved

    def _stale_evaluations(self) -> int:
        best = self.state.best_global_step or 0
        return sum("eval_loss" in log and log["step"] > best for log in self.state.log_history)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002
        if is_main_process():
            written = save_training_state(
                self.run, self.model, self.optimizer, self.lr_scheduler, self.state
            )
            # The one before as well: a disk may damage the newest.
            newest = {path.name for path in checkpoints(self.run)[-2:]} | {written.name}
            best = f"checkpoint-{self.state.best_global_step}"
            remove_checkpoints(self.run, keep=newest | {best})
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the weights are loaded before the trainer sees the model."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            peaks = [group["initial_lr"] for group in self.optimizer.param_groups]
            load_training_state(Path(checkpoint), self.optimizer, self.lr_scheduler)
            set_peak_rates(self.optimizer, self.lr_scheduler, peaks)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: every step is seeded on its own."""
