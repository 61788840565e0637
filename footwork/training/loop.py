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
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerControl, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from footwork import accelerator
from footwork.errors import Interrupted, TrainingError
from footwork.files.faults import counted
from footwork.files.folders import read_json
from footwork.methods.table import methods_where
from footwork.options import EVALUATIONS, LoopConfig
from footwork.training.callbacks import CaughtSignal, Keeper, Progress, caught_signal
from footwork.training.dropout import RowDropout
from footwork.training.job import FILLER, JobRows, LengthBuckets, TrainingJob
from footwork.training.run import (
    CHECKPOINT_SETTINGS,
    GO_ON,
    TrainingOutcome,
    checkpoints,
    finished_outcome,
    load_weights,
    logged_beside,
    record_outcome,
    remove_checkpoints,
    require_room,
    save_training_state,
)

LOG_SHARE = 0.01  # of all steps between two log entries


def run_training(
    job: TrainingJob, config: LoopConfig, run: Path, resume: Path | None
) -> TrainingOutcome:
    """Train `job.model` in place and leave its best weights in it.

    Args:
        job: What to train.
        config: How; every rate and length is settled.
        run: Folder of the checkpoints.
        resume: Checkpoint to go on from.

    Raises:
        TrainingError: The loss or the gradient is not finite, memory does not suffice for one row,
            or a checkpoint cannot be written.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    config.require_settled()
    run.mkdir(parents=True, exist_ok=True)
    require_room(run, job.model)
    if resume is not None:
        job.notify(f"Going on from {resume.name}.")
        load_weights(resume, job.model)
    outcome = finished_outcome(run) if resume is not None else None
    if outcome is None:
        with caught_signal() as caught, logged_beside(run, config.log_to) as name:
            trainer = GuardedTrainer(job, config, (run, name), caught, resume)
            with trainer.chosen_threads(resume) as threads:
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            state = trainer.state
            if number := caught.agreed():
                raise Interrupted(
                    f"{signal.Signals(number).name} after step {state.global_step}: the state is "
                    f"saved. {GO_ON}",
                    number,
                )
        outcome = TrainingOutcome(
            state.log_history, state.global_step, state.best_global_step, threads=threads
        )
        if accelerator.is_main_process():
            record_outcome(run, outcome)  # a run that is resumed later must not train on
    if outcome.best_step and outcome.best_step != outcome.steps:
        load_weights(run / f"checkpoint-{outcome.best_step}", job.model)
    return outcome


class GuardedTrainer(Trainer):
    """`Trainer` with exact accumulation, finite updates, memory splits and whole checkpoints.

    Two of its private methods are overridden, each for want of a public way, and none is called.
    """

    def __init__(
        self,
        job: TrainingJob,
        config: LoopConfig,
        named: tuple[Path, str],
        caught: CaughtSignal,
        resume: Path | None,
    ) -> None:
        world = accelerator.number_of_processes()
        self.job, self.config, (self.run, name) = job, config, named
        self.order = LengthBuckets(job.lengths, config.batch_size, config.seed, complete=world > 1)
        self.rows = JobRows(job, self.order)
        batches = math.ceil(len(self.rows) / config.batch_size)
        steps = config.steps_over(len(self.rows))
        self.epochs_between = math.ceil(steps / batches / EVALUATIONS)
        args = TrainingArguments(
            output_dir=str(self.run),
            per_device_train_batch_size=config.batch_size // world,
            num_train_epochs=config.num_epochs,
            max_steps=config.max_steps or -1,
            learning_rate=config.learning_rate,
            lr_scheduler_type=config.schedule,
            warmup_steps=config.warmup,
            max_grad_norm=config.max_grad_norm,
            activation_checkpointing=config.activation_checkpointing,
            seed=config.seed,
            eval_strategy="epoch",
            save_strategy="no",  # Keeper decides when
            metric_for_best_model=config.best_metric,
            greater_is_better=config.greater_is_better,
            # A number: given the share, Trainer warns on every resume that its checkpoint differs.
            logging_steps=max(1, math.ceil(steps * LOG_SHARE)),
            logging_nan_inf_filter=False,  # it would log 0.0 where the loss is not a number
            use_cpu=accelerator.uses_cpu(),
            disable_tqdm=True,
            report_to=list(config.log_to) or "none",
            run_name=name,
            project="footwork",
            remove_unused_columns=False,
            dataloader_pin_memory=not accelerator.uses_cpu() and torch.cuda.is_available(),
        )
        if config.device is not None:  # of several it would take the first, or all at once
            args.__dict__["_setup_devices"] = accelerator.compute_device()
            args._n_gpu = min(args._n_gpu, 1)
        super().__init__(
            model=job.model,
            args=args,
            train_dataset=self.rows,
            eval_dataset=self.rows,  # never read: `evaluate` asks the job
            callbacks=[
                Progress(job.notify, may_stop=config.early_stopping > 0 < job.judged_rows),
                Keeper(self, caught, resume),
                *job.callbacks,
            ],
        )
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        device = accelerator.compute_device()
        self.bf16 = accelerator.resolve_precision(config.mixed_precision, device) == torch.bfloat16
        self.share = config.batch_size // world
        self.micro_rows = math.ceil(self.share / config.gradient_accumulation_steps)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[int]:
        """In our order: an epoch's is a function of the seed and the epoch, so a run can go on."""
        loader: torch.utils.data.DataLoader[int] = self.accelerator.prepare(
            torch.utils.data.DataLoader(
                self.rows,
                batch_size=self.args.train_batch_size,
                sampler=self.order,
                collate_fn=self.rows.collate,
                pin_memory=self.args.dataloader_pin_memory,
            )
        )
        return loader

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over the job's groups; the groups carry their own rates and decay."""
        self.optimizer = torch.optim.AdamW(self.job.parameter_groups, fused=True)
        return self.optimizer

    @contextmanager
    def chosen_threads(self, resume: Path | None) -> Iterator[int]:
        """Within the block torch computes on as many threads as are quickest here and now.

        A resumed run has those that it began with: another number rounds its sums otherwise. Where
        the user has chosen, nothing is.
        """
        usual = threads = torch.get_num_threads()
        began_with = read_json(resume / CHECKPOINT_SETTINGS).get("threads") if resume else None
        # Memory is scarce where activations are computed twice, as Trainer does from its start on.
        spared = self.args.world_size > 1 or self.config.activation_checkpointing
        if usual == 1 or not accelerator.uses_cpu() or spared or accelerator.threads_are_given():
            if began_with not in (None, usual):
                self.job.notify(
                    f"The run began with {counted(began_with, 'thread')} and goes on with {usual}, "
                    "so its last digits will differ."
                )
        elif began_with is not None:
            threads = began_with
        else:
            threads = self._quickest_threads()
        torch.set_num_threads(threads)
        try:
            yield threads
        finally:
            torch.set_num_threads(usual)

    def _quickest_threads(self) -> int:
        """By real steps on a batch of the usual size, whose gradients are thrown away."""
        rows = list(self.order)
        size = self.config.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        tokens = np.array([len(batch) * self.order.lengths[batch].max() for batch in batches])
        usual = self.rows.collate(batches[int(np.abs(tokens - tokens.mean()).argmin())])
        weight = usual["row_weight"].sum()
        running = {name: each.clone() for name, each in self.model.named_buffers()}
        self.model.train()

        def step() -> None:
            inputs = {name: each for name, each in usual.items() if name != "row"}
            self._accumulate(self.model, inputs, weight)
            self.model.zero_grad(set_to_none=True)

        try:
            with without_gradient(self.job.resting(self.order.epoch)):
                seconds = accelerator.quickest_threads(step)
        except (RuntimeError, MemoryError) as error:
            if not accelerator.is_out_of_memory(error):
                raise
            self.model.zero_grad(set_to_none=True)  # a real step is done in parts
            return torch.get_num_threads()
        finally:
            for name, each in self.model.named_buffers():
                each.copy_(running[name])  # means that batch normalisation keeps
        most, chosen = next(iter(seconds)), list(seconds)[-1]
        if chosen != most:
            self.job.notify(
                f"{counted(chosen, 'thread')} in place of {most}: a step takes "
                f"{seconds[chosen]:.2g} s, with {most} {seconds[most]:.2g} s. OMP_NUM_THREADS "
                "decides otherwise."
            )
        return chosen

    # One step

    def training_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Gradients of one whole step, in as many parts as memory asks for, and all finite."""
        model.train()
        if self.job.pad is not None and self.args.world_size > 1:
            # To the longest row of all processes: a dropout mask has the shape of the batch.
            longest = accelerator.largest_over_processes(inputs["input_ids"].shape[1])
            inputs = self.job.pad(inputs, longest)
        inputs = {name: each.to(self.args.device) for name, each in inputs.items()}
        rows = inputs.pop("row").flatten().tolist()
        total = accelerator.sum_over_processes(inputs["row_weight"].sum())
        resting = self.job.resting(self.order.epoch)
        while True:
            failure = None
            try:
                with without_gradient(resting):
                    loss = self._accumulate(model, inputs, total)
                break
            except (RuntimeError, MemoryError) as error:
                if not accelerator.is_out_of_memory(error):
                    raise
                failure = str(error)
            self._split(failure)  # outside the handler, whose traceback holds the tensors
        loss = accelerator.sum_over_processes(loss)
        if not torch.isfinite(loss):
            self._stop("loss", float(loss), rows)
        # Here, before the update: Trainer tells its hooks no norm.
        norm = nn.utils.get_total_norm(self._summed_gradients(resting))
        if not torch.isfinite(norm):
            self._stop("gradient norm", float(norm), rows)
        return loss

    def _accumulate(
        self, model: nn.Module, inputs: Mapping[str, torch.Tensor], total: torch.Tensor
    ) -> torch.Tensor:
        loss_sum = torch.zeros((), device=total.device)
        for start in range(0, len(inputs["labels"]), self.micro_rows):
            part = {name: value[start : start + self.micro_rows] for name, value in inputs.items()}
            labels, weight = part.pop("labels"), part.pop("row_weight")
            torch.manual_seed(self.config.seed * 1_000_003 + self.state.global_step)
            first = self.args.process_index * self.share + start
            # Where one part is the whole step, its masks are those of the whole step.
            whole = len(weight) == int(total)
            masks = nullcontext() if whole else RowDropout(first, len(weight), int(total))
            # Gradients are added up once a step, by hand: a process that splits a step on its own
            # would otherwise leave the others waiting inside DDP's reduction.
            with masks, self.accelerator.no_sync(model):
                # Not by accelerate, which would leave its autocast in the model's `forward`.
                with torch.autocast(total.device.type, torch.bfloat16, enabled=self.bf16):
                    logits = model(**part).logits.float()
                loss = (self.job.loss(logits, labels) * weight).sum() / total
                self.accelerator.backward(loss)
            loss_sum += loss.detach()
        if (penalty := self.job.penalty()) is not None:
            penalty = penalty / self.args.world_size  # gradients and losses are added up
            self.accelerator.backward(penalty)
            loss_sum += penalty.detach()
        return loss_sum

    def _summed_gradients(self, resting: Sequence[nn.Parameter]) -> list[torch.Tensor]:
        """Every gradient, added up over the processes."""
        still = set(map(id, resting))
        gradients = []
        for parameter in (each for group in self.job.parameter_groups for each in group["params"]):
            if id(parameter) in still:
                continue  # a gradient of zeros would let its weight decay
            if parameter.grad is None and self.args.world_size > 1:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(accelerator.sum_over_processes(parameter.grad))
        return gradients

    def _split(self, failure: str) -> None:
        self.model.zero_grad(set_to_none=True)
        accelerator.free_cached_memory()
        step = self.state.global_step + 1
        if self.micro_rows == 1:
            raise TrainingError(
                f"Out of memory at step {step} with a single row: {failure} "
                "Lower --max-length, add --activation-checkpointing, or use --method "
                f"{methods_where(lambda method: method.share < 1)}."
            )
        self.micro_rows = math.ceil(self.micro_rows / 2)
        self.job.notify(
            f"Out of memory at step {step}: from here on {counted(self.micro_rows, 'row')} at a "
            f"time. The step still counts {self.config.batch_size} rows."
        )

    def _stop(self, what: str, value: float, rows: list[int]) -> None:
        """Save the last good weights and say where it went wrong, before any update."""
        self.model.zero_grad(set_to_none=True)
        self._save_checkpoint(self.model, None)
        step = self.state.global_step + 1
        gathered = accelerator.gather_shares(rows)
        of_all = sorted({row for part in gathered for row in part if row != FILLER})
        raise TrainingError(
            f"The {what} is {value} at step {step}; the update was not made. "
            f"Rows of that step: {', '.join(map(str, of_all))}. The weights before it are in "
            f"{self.run / f'checkpoint-{step - 1}'}. Look at those rows, or resume with a lower "
            "--learning-rate."
        )

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

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Complete or absent, and nothing pickled.

        The public `save_model` is followed by Trainer's own state, which it writes in place.
        """
        if accelerator.is_main_process():
            written = save_training_state(
                self.run, self.model, self.optimizer, self.lr_scheduler, self.state
            )
            # The one before as well: a disk may damage the newest.
            newest = {path.name for path in checkpoints(self.run)[-2:]} | {written.name}
            best = f"checkpoint-{self.state.best_global_step}"
            remove_checkpoints(self.run, keep=newest | {best})
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: `run_training` has loaded the weights, and refused those of another model.

        Trainer has no switch for it, and would warn of each frozen weight that is not there.
        """


@contextmanager
def without_gradient(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within the block `parameters` take no gradient; an optimizer then leaves them alone."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
