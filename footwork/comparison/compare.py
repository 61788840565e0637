"""Methods against each other on the same rows: from labelled rows to a page that says which one.

Every run goes through the parts of a training: plan, encode (once), fit, evaluate.
A finished one leaves a record, so that a comparison that was ended goes on with what is missing.
One that fails is told with its reason, and costs the others nothing.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from footwork.accelerator import (
    forget_peak_memory,
    free_cached_memory,
    is_main_process,
    is_out_of_memory,
    number_of_processes,
    share_from_main,
    wait_for_everyone,
)
from footwork.comparison.plan import ComparisonPlan, RunKey
from footwork.comparison.report import write_comparison
from footwork.comparison.result import Comparison, compared
from footwork.console import Milestone
from footwork.errors import (
    DataError,
    FootworkError,
    ModelError,
    TrainingError,
    error_text,
)
from footwork.evaluation.text import duration
from footwork.files.faults import counted
from footwork.files.folders import (
    MANIFEST,
    discard_folder,
    published_folder,
    read_json,
    seal_of,
    write_json,
)
from footwork.files.paths import user_path
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import LabelledData
from footwork.finetuning.fit import cost_of, evaluate, fit
from footwork.finetuning.plan import plan
from footwork.finetuning.report import json_value
from footwork.finetuning.task import EncodedRows, Learner, Notify, Task, TaskOf
from footwork.finetuning.validation import few_rows_note
from footwork.models.checkpoints import with_bases
from footwork.tables.held import Rows, input_names
from footwork.tables.labels import SINGLE_LABEL
from footwork.training.run import (
    MAY_CHANGE,
    RUNS,
    Existing,
    RunPlace,
    begin_run,
    check_run,
    checkpoints,
    locked,
    resumable,
)

FEWEST = 2
"""Rows of a class to train on."""
_BASELINES = "baselines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of a comparison, as its record keeps it."""

    asked: dict[str, Any]
    """Settings before anything was settled: the record is for who asks for the same."""
    failure: str | None = None
    """Why it came to no end; then it has no figures."""
    config: dict[str, Any] = field(default_factory=dict)
    """Every setting, settled."""
    config_sources: dict[str, str] = field(default_factory=dict)
    revision: str | None = None
    """Commit of the base on the Hub."""
    cost: dict[str, Any] = field(default_factory=dict)
    """As in `footwork.json`, from the encoded rows to the figures."""
    steps: int = 0
    best_step: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """What the loop logged."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of the split that is reported, each with its interval."""
    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    summands: list[list[float]] = field(default_factory=list)
    """`Evaluation.summands` of the split that is reported."""
    notes: list[str] = field(default_factory=list)


class SharedRows:
    """Labelled rows that several runs are made on: read, split and encoded once.

    What the model cannot do is refused here.

    Args:
        task_of: Gives the task that reads for a configuration.
        source: The rows, as the task reads them.
        wanted: The runs; the seed of the split is that of what they share.
        folder: Holds what is kept of the rows meanwhile.
        callbacks: Of every run.
    """

    def __init__(
        self,
        task_of: TaskOf,
        source: Any,
        wanted: ComparisonPlan,
        folder: Path,
        callbacks: tuple[Any, ...] = (),
    ) -> None:
        self.task_of, self.source, self.folder = task_of, source, folder
        self.callbacks = callbacks
        self.configs = list({config.method: config for config in wanted.runs.values()}.values())
        for config in self.configs:
            task_of(config).open(config)
        self.task = task_of(wanted.config)
        self.data: LabelledData = self.task.read(source, wanted.config)
        wanted.require_task(self.data.task)
        self.configs = [one for one in self.configs if one in wanted.runs.values()]
        self.warnings: tuple[str, ...] = ()
        self._encoded: dict[tuple[type[Task], int | None], EncodedRows] = {}

    @property
    def reported(self) -> str:
        """The split whose figures are compared."""
        return self.data.judging[-1]

    def run(self, config: FinetuningConfig, place: RunPlace, notify: Notify) -> Run:
        """Train and judge once; a failure of the training is told in what is returned.

        Args:
            config: Every setting.
            place: Its checkpoints; begun there, the run goes on.
            notify: Takes progress and warnings, one text each.
        """
        asked = json_value(config.told())
        try:
            learner = self._plan(config, notify)
            rows = self._rows(learner, notify)
            forget_peak_memory()
            began = time.monotonic()
            identity = {"data": self.data.sha256, "base_revision": learner.revision}
            resume = begin_run(place, learner.config.told() | identity, "resume", notify)
            model, outcome = fit(learner, rows, place.run, resume, notify)
            judged, learned = evaluate(learner, rows, model, notify)
            cost = cost_of(model, outcome, began, resume)
        except (TrainingError, ModelError, MemoryError, RuntimeError) as error:
            if not isinstance(error, FootworkError) and not is_out_of_memory(error):
                raise
            free_cached_memory()
            return Run(asked=asked, failure=re.split(r"[.;](?:\s|$)", error_text(error))[0])
        record: dict[str, Any] = json_value(
            {
                "asked": asked,
                "config": learner.config.told(),
                "config_sources": learner.config_sources,
                "revision": learner.revision,
                "cost": cost,
                "steps": outcome.steps,
                "best_step": outcome.best_step,
                "history": outcome.history,
                "metrics": judged[self.reported].figures,
                "validation": judged["validation"].figures,
                "summands": judged[self.reported].summands,
                "notes": (*outcome.notes, *learned),
            }
        )
        return Run(**record)

    def encode(self, notify: Notify) -> None:
        """Encode the rows where no run did: what is learned of them meanwhile is to be told."""
        if not self._encoded:
            self._rows(self._plan(self.configs[0], notify), notify)

    def baselines(self, notify: Notify) -> dict[str, dict[str, Any]]:
        """What must be beaten, by name: metrics and summands as of a run; on the main process."""
        found = next(iter(self._encoded.values())).baselines(self.reported, notify)
        return {
            name: json_value({"metrics": each.figures, "summands": each.summands})
            for name, each in found.items()
        }

    def _plan(self, config: FinetuningConfig, notify: Notify) -> Learner:
        learner = plan(self.task_of(config), self.source, config, notify, self.data)
        return replace(learner, callbacks=self.callbacks)

    def _rows(self, learner: Learner, notify: Notify) -> EncodedRows:
        """What the learner's model takes; other runs than the first find it there."""
        kind = type(learner.task), getattr(learner.config, "max_length", None)
        if kind not in self._encoded:
            with torch.random.fork_rng(devices=[]):  # a run must not depend on what ran before it
                if not self._encoded:  # by a model, if any method has one: it knows what is cut
                    reader = max(self.configs, key=lambda one: one.method_row.has_model)
                    whole = learner.config.method_row.has_model == reader.method_row.has_model
                    audited = learner if whole else self._plan(reader, notify)
                    self.warnings = audited.task.audit(audited, notify)
                self._encoded[kind] = learner.task.encode(learner, self.folder, notify)
                self._encoded[kind].begin(learner, notify)
            self.data = self._encoded[kind].data
        return self._encoded[kind].for_learner(learner)


def compare(
    task_of: TaskOf,
    source: Any,
    out: Path,
    wanted: ComparisonPlan,
    existing: Existing,
    hooks: tuple[tuple[Any, ...], Notify],
) -> Comparison:
    """Compare methods on one split of labelled rows, and publish what came of it as a folder.

    Args:
        task_of: Gives the task that reads for a configuration.
        source: The rows, as the task reads them.
        out: The folder to publish; `out.training` beside it holds the records meanwhile.
        wanted: The runs.
        existing: What to do where `out` or an unfinished comparison of it exists.
        hooks: Callbacks of transformers, and what takes progress and warnings.
    """
    main, config, (callbacks, notify) = is_main_process(), wanted.config, hooks
    tell = _once(notify) if main else lambda _: None
    place = check_run(out, existing, (*input_names(source), *with_bases(config.model_id)))
    config.require_divisible(number_of_processes())
    shared = SharedRows(task_of, source, wanted, place.run, callbacks)
    _require_enough(shared.data)
    base = seal_of(user_path(shared.task.presets.get(config.model_id, config.model_id)))
    identity = {"kind": "comparison", "data": shared.data.sha256, "base_sha256": base}
    identity |= asdict(wanted.options)
    with locked(place.run), resumable(place.run, _kept):
        begin_run(place, config.told() | identity, existing, tell)
        runs = dict(_runs(shared, wanted, place, tell))
        shared.encode(tell)
        baselines = _baselines(shared, place.run / RUNS / f"{_BASELINES}.json", tell)
        data = shared.data
        in_steps = next((one for one in shared.configs if one.method_row.rates), shared.configs[0])
        notes = (
            *(*data.notes, *shared.warnings),
            *few_rows_note(data, in_steps, shared.task.noun),
            *_learned_more(shared),
        )
        manifest = compared(shared, wanted, runs, baselines, notes)
        more: tuple[str, ...] = ()
        if main:
            with published_folder(place.out, overwrite=place.replaces) as staging:
                (staging / RUNS).mkdir()
                for key, run in runs.items():
                    write_json(staging / RUNS / f"{key.name}.json", asdict(run))
                write_json(staging / RUNS / f"{_BASELINES}.json", baselines)
                more = write_comparison(staging, manifest)
                made = {name: manifest[name] for name in ("footwork", "application", "kind")}
                write_json(staging / MANIFEST, made)
            discard_folder(place.run, place.out)
        wait_for_everyone()
    return Comparison(
        folder=place.out,
        manifest=manifest,
        notes=(*notes, *more),
        skipped=data.skipped,
        runs=Rows(_run_row(key, run) for key, run in runs.items()),
    )


def _run_row(key: RunKey, run: Run) -> dict[str, Any]:
    """What a run came to, on a row."""
    facts = {"steps": run.steps, "seconds": run.cost.get("seconds"), "failure": run.failure}
    rate = key.rate or run.config.get("learning_rate")
    metrics = {name: each["value"] for name, each in run.metrics.items()}
    return {"method": key.method, "seed": key.seed, "learning_rate": rate, **metrics, **facts}


def _learned_more(shared: SharedRows) -> tuple[str, ...]:
    """That the test rows judge some methods by more training rows than others, if they do."""
    solved = [one.method for one in shared.configs if one.method_row.solves]
    if not solved or not shared.data.held_out or shared.reported == "validation":
        return ()
    return (
        f"The {shared.task.noun} held out ({len(shared.data.splits['validation'])}) are learned by "
        f"{' and '.join(solved)} as well before the test, as `train` has it; nothing else learns "
        "them.",
    )


def _require_enough(data: LabelledData) -> None:
    """Refuse a class of which nothing but one row could be learned."""
    if data.task != SINGLE_LABEL:
        return
    counts = data.counts()
    for number in np.flatnonzero(counts < FEWEST).tolist():
        raise DataError(
            f"The class {data.labels[number]!r} has {counted(int(counts[number]), 'row')} to train "
            f"on, and a comparison needs {FEWEST} of each: of one row nothing is learned but that "
            "row. Add some, or remove the class."
        )


def _runs(
    shared: SharedRows, wanted: ComparisonPlan, place: RunPlace, notify: Notify
) -> Iterator[tuple[RunKey, Run]]:
    """Every run that is wanted: from its record, or made now and recorded."""
    folder, count = place.run / RUNS, len(wanted.runs)
    folder.mkdir(exist_ok=True)
    records = share_from_main(_records(folder) if is_main_process() else None)
    asked = {key: json_value(config.told()) for key, config in wanted.runs.items()}
    done = {name: _deciding(run.asked) for name, run in records.items() if not run.failure}
    todo = [key for key in wanted.runs if done.get(key.name) != _deciding(asked[key])]
    if len(todo) < count:
        notify(f"{count - len(todo)} of {counted(count, 'run')} done before")
    took: dict[str, list[float]] = {}
    for number, (key, config) in enumerate(wanted.runs.items(), start=1):
        usual = records.get(key._replace(rate=None).name)
        if key.rate and usual and usual.config.get("learning_rate") == key.rate:
            records[key.name] = replace(usual, asked=asked[key])  # the recipe has this very rate
        elif key in todo:
            notify(f"run {number} of {count}: {key}{_left(took, todo[todo.index(key) :])}")
            began, own = time.monotonic(), replace(place, run=folder / key.name)
            records[key.name] = run = shared.run(config, own, notify)
            took.setdefault(key.method, []).append(time.monotonic() - began)
            if is_main_process():
                write_json(folder / f"{key.name}.json", asdict(run))
                shutil.rmtree(own.run, ignore_errors=True)
            if run.failure:
                notify(f"{key} failed: {run.failure}.")
        yield key, records[key.name]


def _deciding(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What of the settings of a run decides what comes of it."""
    return {name: value for name, value in asked.items() if name not in MAY_CHANGE}


def _records(folder: Path) -> dict[str, Run]:
    """By their names; one that is damaged is made again."""
    records: dict[str, Run] = {}
    for path in folder.glob("*.json"):
        with suppress(ModelError, TypeError):
            records[path.stem] = Run(**read_json(path, None))
    return records


def _left(took: Mapping[str, Sequence[float]], waiting: Sequence[RunKey]) -> str:
    """How long some runs will take, by the seconds that those of each method took, a clause."""
    if not took:
        return ""
    usual = mean(map(mean, took.values()))
    seconds = sum(mean(took.get(key.method, (usual,))) for key in waiting)
    return f"; some {duration(seconds)} left for {counted(len(waiting), 'run')}"


def _baselines(shared: SharedRows, path: Path, notify: Notify) -> dict[str, dict[str, Any]]:
    """From their record, or judged now and recorded."""
    if share_from_main(path.exists()):
        found: dict[str, dict[str, Any]] = read_json(path, None)
        return found
    found = share_from_main(shared.baselines(notify))
    if is_main_process():
        write_json(path, found)
    return found


def _kept(run: Path) -> str | None:
    """As `kept_of`, of a comparison."""
    records = [path for path in (run / RUNS).glob("*.json") if path.stem != _BASELINES]
    begun = any(map(checkpoints, (run / RUNS).glob("*")))
    if not records and not begun:
        return None
    return f"in the comparison: {counted(len(records), 'run')} of it are done, and kept in {run}."


def _once(notify: Notify) -> Notify:
    """Let through how far a training is; of all else nothing twice, for runs are much alike."""
    told: set[str] = set()

    def notify_once(text: str) -> None:
        if isinstance(text, Milestone) or text not in told:
            told.add(text)
            notify(text)

    return notify_once
