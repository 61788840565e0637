"""A run, from labelled rows to a published, proven folder; read it from top to bottom.

Plan → audit → checkpoints → train → evaluate, calibrate → baselines, other domains → weights
(merged if asked), manifest, card, report → reload proof → publish → push. The folder that is named
appears only when all of it has succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from footwork.accelerator import (
    is_main_process,
    number_of_processes,
    wait_for_everyone,
)
from footwork.evaluation.decision import rule_of
from footwork.evaluation.result import Evaluation
from footwork.evaluation.text import Shown, aligned, html_table
from footwork.files.folders import (
    MANIFEST,
    discard_folder,
    published_folder,
    read_manifest,
    seal_of,
    write_json,
)
from footwork.files.paths import shell_word, user_path
from footwork.finetuning.card import PLACE, beside, caveat, cost_line, unproven, verdicts
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.domains import Domains, judge_domains
from footwork.finetuning.fit import cost_of, evaluate, fit, train_again
from footwork.finetuning.plan import plan
from footwork.finetuning.reload import prove_reload
from footwork.finetuning.report import Report, manifest_of, write_report
from footwork.finetuning.task import EncodedRows, Learner, Notify, Task
from footwork.finetuning.upload import (
    create_repository,
    push_folder,
    require_publishable,
    writable_repository,
)
from footwork.finetuning.validation import few_rows_note
from footwork.models.checkpoints import save_model, with_bases
from footwork.tables.held import Rows, input_names
from footwork.training.run import Existing, RunPlace, begin_run, check_run, locked, resumable

PROOF_ROWS = 32  # a CPU that emulates bf16 takes five times as long for them


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainedRun(Shown):
    """A finished fine-tuning."""

    task: Task
    folder: Path
    manifest: dict[str, Any]
    """What `footwork.json` holds."""
    evaluation: Evaluation
    """Of the split that is reported: test where there is one, else validation."""
    history: Rows[dict[str, Any]]
    """A row for each step that was logged or judged, under transformers' names: `step`, `epoch`,
    `loss`, `learning_rate`; `eval_loss`, `eval_accuracy` and so on of the validation rows."""
    baselines: dict[str, Evaluation]
    """On the same rows; empty on all but the main process."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[Any, ...]
    """Rows that were left out, with a reason each."""
    domains: Domains | None = None
    """What an adaptation to a target was worth."""
    repository: str | None = None
    """On the Hub, where it was pushed."""
    address: str | None = None
    """Of the repository."""

    @cached_property
    def classifier(self) -> Any:
        """What was trained, loaded from its folder onto the device of its training.

        A `TextClassifier`, a `FinetunedClassifier`.
        """
        return self.task.classifier(self.folder, device=self.manifest["config"].get("device"))

    @property
    def summary(self) -> str:
        """What was trained, and how good it is."""
        method, split = self.manifest["method"], self.manifest["evaluated_on"]
        return f"{method} in {self.folder}, {split}: {self.evaluation.summary}"

    def _repr_html_(self) -> str:
        return html_table(beside(self.task, self.evaluation, self.baselines))

    def to_text(self) -> str:
        """How good it is, what it was to beat, and how it is used, for people."""
        split = self.manifest["evaluated_on"]
        lines = [
            f"On the {split} {self.task.noun}",
            "",
            self.evaluation.to_text(),
            "",
            *(["next to it"] if self.baselines else []),
        ]
        width = 2 + max(map(len, self.baselines), default=0)
        for name, baseline in self.baselines.items():
            metric = baseline.metrics.get(baseline.primary_metric)
            shown = f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]" if metric else "–"
            lines.append(f"  {name:<{width}}{baseline.primary_metric} {shown}")
        method = self.manifest["method"]
        said = [*verdicts(self.task, method, self.evaluation, self.baselines)]
        said += unproven(self.manifest)
        weak = caveat(split, self.manifest, self.evaluation)
        said += [*filter(None, [weak]), cost_line(self.manifest["cost"])]
        lines += [line.replace("**", "").replace("`", "") for line in said if line]
        if self.domains:
            said = [*self.domains.sentences()]
            lines += ["", "to the target", *aligned(self.domains.table()), ""]
            lines += [line.replace("**", "").replace("`", "") for line in said]
        where = f", and at {self.address}" if self.address else ""
        used = shell_word(self.repository or self.folder)
        command = self.task.words(self.manifest).predict.replace(PLACE, used)
        lines += ["", f"{self.folder} is published{where}. Use it:", f"  {command}"]
        return "\n".join(lines)


def train(
    task: Task,
    source: Any,
    out: Path,
    config: FinetuningConfig,
    existing: Existing,
    hooks: tuple[tuple[Any, ...], Notify],
) -> TrainedRun:
    """Fine-tune a model on labelled rows and publish it as a folder, as `Interface.train` tells.

    Args:
        task: What the application brings.
        source: The rows, as the task reads them.
        out: The folder to publish.
        config: Every setting.
        existing: What to do where `out` or an unfinished run of it exists.
        hooks: Callbacks of transformers, and what takes progress and warnings.
    """
    began, main, (callbacks, notify) = time.monotonic(), is_main_process(), hooks
    notify = notify if main else lambda _: None
    base = task.presets.get(config.model_id, config.model_id)
    require_publishable(config, None if config.continue_adapter else base)
    place = check_run(
        out, existing, (*input_names(source), *with_bases(config.model_id), config.target)
    )
    wanted = config.push_to_hub if main else None
    repository = None if wanted is None else writable_repository(wanted)
    config.require_divisible(number_of_processes())
    learner = replace(plan(task, source, config, notify), callbacks=callbacks)
    require_publishable(learner.config, learner.base_id)
    warnings = task.audit(learner, notify)
    identity: dict[str, Any] = {
        "kind": "training",
        "data": learner.data.sha256,
        "target_data": learner.data.target_sha256,
        "base_revision": learner.revision,
        "base_sha256": seal_of(user_path(base)),
        "scale": learner.scale,  # checkpoints of older versions are in the user's unit
    }
    with locked(place.run), resumable(place.run):
        resume = begin_run(place, learner.config.told() | identity, existing, notify)
        if repository:
            notify(
                "to be uploaded when all is done (public, unless made private): "
                f"{create_repository(repository)}"
            )
        rows = task.encode(learner, place.run, notify)
        model, outcome = fit(learner, rows, place.run, resume, notify)
        evaluations, learned = evaluate(learner, rows, model, notify)
        split = list(evaluations)[-1]
        judges = main and "baselines" not in config.skip
        baselines = rows.baselines(split, notify) if judges else {}
        cost = cost_of(model, outcome, began, resume)
        domains = judge_domains(
            learner, rows, model, partial(train_again, learner, place.run, notify), notify
        )
        report = Report(
            task=task,
            manifest=manifest_of(learner, rows.data, outcome, evaluations, baselines, cost)
            | ({"domains": domains.to_dict()} if domains else {}),
            domains=domains,
            evaluations=evaluations,
            baselines=baselines,
            history=outcome.history,
            notes=(
                *rows.data.notes,
                *warnings,
                *outcome.notes,
                *few_rows_note(rows.data, learner.config, task.noun),
                *learned,
            ),
        )
        notes = publish(place, learner, rows, model, report, notify) if main else ()
        wait_for_everyone()
    address = push_folder(place.out, repository) if repository else None
    wait_for_everyone()
    return TrainedRun(
        task=task,
        folder=place.out,
        manifest=read_manifest(place.out, verify=False),
        evaluation=report.evaluation,
        history=history_of(outcome.history),
        baselines=baselines,
        notes=(*report.notes, *notes),
        skipped=rows.data.skipped,
        domains=domains,
        repository=repository,
        address=address,
    )


def history_of(logged: Iterable[Mapping[str, Any]]) -> Rows[dict[str, Any]]:
    """What a loop logged, all of a step on one row; the summary in the end is none."""
    steps: dict[Any, dict[str, Any]] = {}
    for entry in logged:
        if "train_runtime" not in entry:
            begun = {"step": entry["step"], "epoch": entry.get("epoch")}
            steps.setdefault(entry["step"], begun).update(entry)
    return Rows(steps.values())


def publish(
    place: RunPlace, learner: Learner, rows: EncodedRows, model: Any, report: Report, notify: Notify
) -> tuple[str, ...]:
    """Write the folder, prove that it answers as the model does, and put it into its place.

    Returns what could not be written and how to have it, a sentence each.
    """
    sample = range(min(PROOF_ROWS, len(rows.data.splits["validation"])))
    # Before anything is merged.
    expected = rows.logits(model, "validation", sample, "float32")
    with published_folder(place.out, overwrite=place.replaces) as staging:
        save_model(staging, model, merge=learner.config.merge)
        if learner.preparation is not None:
            learner.preparation.save_pretrained(staging)
        write_json(staging / MANIFEST, report.manifest)
        notes = write_report(staging, report)
        if "proof" not in learner.config.skip:
            notify("loading the saved folder in a fresh process")
            unit = learner.scale[1] if learner.scale else 1.0
            rule = rule_of(report.manifest, getattr(model, "config", model))
            question = rows.question("validation", sample)
            prove_reload(learner.task, staging, question, expected, rule, unit)
    discard_folder(place.run, place.out)
    return notes
