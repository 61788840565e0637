"""What a comparison of methods says: figures, which to take, what is noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from footwork.comparison.report import (
    NOISE,
    PAGE,
    interval_text,
    rates_table,
    seconds_text,
    table_of,
    value_text,
)
from footwork.evaluation.metrics import PRIMARY_METRIC, Interval, PooledMetric
from footwork.evaluation.splits import FEW_ROWS
from footwork.evaluation.text import Shown, aligned, number, wrapped, wrapped_note
from footwork.files.paths import path_line
from footwork.finetuning.report import json_value
from footwork.finetuning.validation import choosing_metric
from footwork.methods.table import method_of
from footwork.options import LOWER_IS_BETTER
from footwork.tables.held import Rows, data_name

if TYPE_CHECKING:
    from footwork.comparison.compare import Run, SharedRows
    from footwork.comparison.plan import ComparisonPlan, RunKey


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Comparison(Shown):
    """A finished comparison of methods."""

    folder: Path
    manifest: dict[str, Any]
    """What `comparison.json` holds."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[Any, ...]
    """Rows that were left out, with a reason each."""
    runs: Rows[dict[str, Any]]
    """A row a run: its method, seed and rate, its metrics on the split that is reported."""

    @property
    def summary(self) -> str:
        """What to take."""
        return " ".join(self.manifest["verdict"])

    def to_text(self) -> str:
        """What to take and how all did, for people."""
        said = [line for each in self.manifest["verdict"] for line in wrapped(each)]
        lines = [*said, "", *aligned(table_of(self.manifest)), "", *wrapped_note(NOISE)]
        for rates in self.manifest["rates"]:
            lines += ["", *wrapped(rates["said"]), *aligned(rates_table(rates))]
        failed = [f"{each['run']} failed: {each['reason']}" for each in self.manifest["failures"]]
        lines += [line for each in failed for line in wrapped(each)]
        return "\n".join([*lines, "", f"The page with figures: {path_line(self.folder / PAGE)}"])


class Pools:
    """Figures of all that is compared, by name: means over the seeds, and those of resamples."""

    def __init__(self, metric: str) -> None:
        self.metric, self.sign = metric, -1.0 if metric in LOWER_IS_BETTER else 1.0
        self.figures: dict[str, PooledMetric] = {}
        self.spreads: dict[str, float] = {}

    def add(self, name: str, summands: Sequence[Any], values: Sequence[float] = ()) -> None:
        """Take what runs of a name gave, `Evaluation.summands` each, and their metrics."""
        figure = PooledMetric.of(summands)
        if math.isfinite(figure.value):
            self.figures[name] = figure
            self.spreads[name] = stdev(values) if len(values) > 1 else 0.0

    def gain(self, one: str, other: str, comparisons: int = 1) -> dict[str, Any]:
        """By how much one is better than another: above 0 also where a lower metric is better."""
        found = self.figures[one].minus(self.figures[other], comparisons) or Interval(0, 0, 0)
        value = self.sign * found.value
        low, high = sorted((self.sign * found.low, self.sign * found.high))
        clear = (low > 0 or high < 0) and abs(value) > max(self.spreads[one], self.spreads[other])
        return {
            "method": one,
            "than": other,
            "value": value,
            "low": low,
            "high": high,
            "clear": clear,
        }

    def gains(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """By how much the best, which comes first, is better than each of the others.

        It was found on the same rows, so that all pairs share the error: if only those with the
        best did, one of five equal methods would come out clearly worse 9 times in 100, of eight
        14 times; so 4 times (4,000 simulated comparisons each, on 500 rows).
        """
        pairs = math.comb(len(names), 2)
        return [self.gain(names[0], each, pairs) for each in names[1:]]


def compared(
    shared: SharedRows,
    wanted: ComparisonPlan,
    runs: Mapping[RunKey, Run],
    baselines: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str],
) -> dict[str, Any]:
    """All that a comparison says, as JSON can hold it.

    Args:
        shared: The rows.
        wanted: The runs that were asked for.
        runs: Those that were made.
        baselines: What must be beaten, by name, on the same rows.
        notes: On the rows, a sentence each.
    """
    data, task = shared.data, shared.task
    metric = PRIMARY_METRIC[data.task]
    pools, methods = Pools(metric), []
    for method in wanted.methods:
        own = {key: run for key, run in runs.items() if key.method == method and key.rate is None}
        done = {key: run for key, run in own.items() if metric in run.metrics}
        if done:
            values = [run.metrics[metric]["value"] for run in done.values()]
            pools.add(method, [run.summands for run in done.values()], values)
        methods.append({"method": method, "runs": len(own), **_figures(done, metric)})
        if done and (telling := choosing_metric(data)) == "macro_f1":
            methods[-1][telling] = mean(run.metrics[telling]["value"] for run in done.values())
    rivals = {name: each for name, each in baselines.items() if name not in pools.figures}
    for name, each in rivals.items():
        pools.add(name, [each["summands"]])
    for entry in methods:
        entry |= _pooled(pools, entry["method"])
    methods.sort(
        key=lambda each: math.inf if each["value"] is None else -pools.sign * each["value"]
    )
    able = [each["method"] for each in methods if each["value"] is not None]
    fresh = [name for name in able if method_of(name).has_model and not method_of(name).pretrained]
    begun = [name for name in able if method_of(name).has_model and method_of(name).pretrained]
    failures = [(str(key), run.failure) for key, run in runs.items() if run.failure]
    revision = next((run.revision for run in runs.values() if run.revision), None)
    manifest: dict[str, Any] = {
        "footwork": version("footwork"),
        "application": task.application,
        "kind": "comparison",
        "model": {"id": wanted.config.model_id if fresh or begun else None, "revision": revision},
        "data": {
            "path": data_name(shared.source),
            "sha256": data.sha256,
            "rows": {name: len(part) for name, part in data.splits.items()},
        },
        "task": data.task,
        "labels": list(data.labels),
        "noun": task.noun,
        "evaluated_on": shared.reported,
        "metric": metric,
        "seeds": list(dict.fromkeys(wanted.options.seeds)),
        "budget": wanted.budget,
        "verdict": [],
        "methods": methods,
        "baselines": [
            {"name": name, "called": task.baseline_words.get(name, name), **_pooled(pools, name)}
            for name in rivals
        ],
        "differences": pools.gains(able),
        "transfer_gap": [
            pools.gain(one, other) | _head_start(methods, one, other, pools.sign)
            for other in fresh
            for one in begun
        ],
        "rates": _rates(wanted, runs, metric, task.noun),
        "failures": [{"run": run, "reason": reason} for run, reason in failures],
        "notes": list(notes),
        "config": wanted.config.told(),
    }
    manifest["verdict"] = _verdict(manifest, pools, task.rivals)
    document: dict[str, Any] = json_value(manifest)
    return document


def _figures(runs: Mapping[RunKey, Run], metric: str) -> dict[str, Any]:
    """What the finished runs of a method took, and how they went."""
    every = list(runs.values())
    if not every:
        return {"seeds": [], "curves": []}
    name = f"eval_{metric}"
    judged = ([log for log in run.history if {name, "epoch"} <= log.keys()] for run in every)
    curves = [[(log["epoch"], log[name]) for log in logs] for logs in judged if logs]
    # A run that was cut has told only the time since it went on.
    whole = [run for run in every if not run.cost["resumed"]] or every
    first = every[0]
    values = [run.validation[metric]["value"] for run in every if metric in run.validation]
    return {
        "seeds": [key.seed for key in runs],
        "validation": mean(values) if values else None,
        "trainable_parameters": first.cost["trainable_parameters"],
        "parameters": first.cost["parameters"],
        "seconds": mean(run.cost["seconds"] for run in whole),
        "peak_memory_bytes": max(run.cost["peak_memory_bytes"] for run in every),
        "steps": mean(run.steps for run in every),
        "epochs": mean(curve[-1][0] for curve in curves) if curves else None,
        "learning_rate": first.config.get("learning_rate"),
        "learning_rate_source": first.config_sources.get("learning_rate"),
        "curves": curves,
    }


def _head_start(
    methods: Sequence[Mapping[str, Any]], one: str, other: str, sign: float
) -> dict[str, Any]:
    """How much better one did than the other on the validation rows, when both had just begun."""
    curves = {each["method"]: each["curves"] for each in methods}
    shared = {epoch for curve in curves[one] for epoch, _ in curve}
    shared &= {epoch for curve in curves[other] for epoch, _ in curve}
    if not shared:
        return {"head_start": None, "head_start_epoch": None}
    first = min(shared)
    ahead, behind = (
        mean(value for curve in curves[name] for epoch, value in curve if epoch == first)
        for name in (one, other)
    )
    return {"head_start": sign * (ahead - behind), "head_start_epoch": first}


def _pooled(pools: Pools, name: str) -> dict[str, Any]:
    """The metric of a name, with its interval; the spread over the seeds."""
    if name not in pools.figures:
        return {"value": None, "low": None, "high": None, "spread": None}
    interval = pools.figures[name].interval(is_share=pools.metric == "accuracy")
    assert interval is not None
    return {**asdict(interval), "spread": pools.spreads[name]}


def _verdict(manifest: Mapping[str, Any], pools: Pools, rivals: Mapping[str, str]) -> list[str]:
    """What to take and why, in sentences: of those that are not clearly worse the quickest."""
    entries = {each["method"]: each for each in manifest["methods"] if each["value"] is not None}
    if not entries:
        return ["No run came to an end: there is nothing to compare."]
    best, *others = entries
    near = [each["than"] for each in manifest["differences"] if not each["clear"]]
    take = min((best, *near), key=lambda name: entries[name]["seconds"])
    cost, metric = entries[take], manifest["metric"].replace("_", " ")
    said = [
        f"Take {take}: {metric} {value_text(cost)} on the {manifest['evaluated_on']} "
        f"{manifest['noun']}, {seconds_text(cost['seconds'])} a run."
    ]
    if take != best:
        said.append(
            f"{best} has {value_text(entries[best])}, which is within the noise and takes "
            f"{seconds_text(entries[best]['seconds'])}."
        )
    if also := [name for name in near if name != take]:
        said.append(f"Within the noise of the best as well: {_listed(also, entries)}.")
    if worse := [name for name in others if name not in near]:
        said.append(f"Clearly worse: {_listed(worse, entries)}.")
    telling = {name: each["macro_f1"] for name, each in entries.items() if "macro_f1" in each}
    if told := [f"{name} {number(value)}" for name, value in telling.items()]:
        said.append(f"A class is rare, and accuracy hardly sees it; macro F1: {', '.join(told)}.")
    return said + _beside(manifest, pools, take, rivals)


def _beside(
    manifest: Mapping[str, Any], pools: Pools, take: str, rivals: Mapping[str, str]
) -> list[str]:
    """How the method to take stands to what must be beaten, and to random weights."""
    entries = {each["method"]: each for each in manifest["methods"]}
    said, metric = [], manifest["metric"].replace("_", " ")
    known = {each["name"]: each for each in manifest["baselines"]}
    for name, called in rivals.items():
        if name in known and name in pools.figures:
            gain = pools.gain(take, name)
            verb = "beats" if gain["value"] > 0 else "is behind"
            verb = verb if gain["clear"] else "does not clearly beat"
            better = f": {called} is the better choice" if verb == "is behind" else ""
            said.append(f"{take} {verb} {called} ({value_text(known[name])}){better}.")
    gaps = manifest["transfer_gap"]
    if gaps:
        gap = max(gaps, key=lambda each: each["value"])
        noise = "" if gap["clear"] else ", which is within the noise"
        said.append(
            f"The pretraining is worth {interval_text(gap)} of {metric}{noise}: {gap['method']} "
            f"has {value_text(entries[gap['method']])}, the same architecture from random weights "
            f"({gap['than']}) {value_text(entries[gap['than']])}."
        )
    on, learned = manifest["evaluated_on"], any(each["curves"] for each in entries.values())
    if learned and on != "test" and manifest["data"]["rows"][on] >= FEW_ROWS:
        said.append(
            "There was no test split, and the same validation rows chose the checkpoints: the "
            "figures are optimistic."
        )
    return said


def _listed(names: Iterable[str], entries: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} ({value_text(entries[name])})" for name in names)


# Rates


def _rates(
    wanted: ComparisonPlan, runs: Mapping[RunKey, Run], metric: str, noun: str
) -> list[dict[str, Any]]:
    """For each method, what came of each rate, and which suggests itself."""
    found = []
    for method in wanted.methods if wanted.options.rates else ():
        own = {key: run for key, run in runs.items() if key.method == method}
        usual = [run for key, run in own.items() if key.rate is None]
        recipe = next((run.config["learning_rate"] for run in usual if not run.failure), None)
        by_rate: dict[float, list[Run]] = {}
        for key, run in own.items():
            if key.rate is not None:
                by_rate.setdefault(key.rate, []).append(run)
        if recipe is not None:
            by_rate[recipe] = usual
        points = [_point(rate, by_rate[rate], metric) for rate in sorted(by_rate)]
        entry = {"method": method, "recipe": recipe, "points": points}
        found.append(entry | _suggestion(entry, metric, noun))
    return found


def _point(rate: float, runs: Sequence[Run], metric: str) -> dict[str, Any]:
    """What came of a rate: means over the seeds; None where no run came to an end."""
    done = [run for run in runs if not run.failure and metric in run.validation]
    failures = [run.failure for run in runs if run.failure]
    point: dict[str, Any] = {"rate": rate, "runs": len(runs), "failures": failures, "score": None}
    if not done:
        return point
    scores = [run.validation[metric] for run in done]
    values = [score["value"] for score in scores]
    # Of a 95 % interval, 3.92 standard errors wide.
    error = mean((score["high"] - score["low"]) / 3.92 for score in scores)
    return point | {
        "score": mean(values),
        "noise": max(error, stdev(values) if len(values) > 1 else 0.0),
        "validation_loss": mean(map(_validation_loss, done)),
        "training_loss": mean(map(_training_loss, done)),
    }


def _validation_loss(run: Run) -> float:
    """Of the checkpoint that was taken."""
    logs = [log for log in run.history if log.get("eval_loss") is not None]
    chosen = [log for log in logs if log["step"] == run.best_step] or logs
    return float(chosen[-1]["eval_loss"])


def _training_loss(run: Run) -> float:
    """In the end: of the last tenth of what was logged."""
    losses = [log["loss"] for log in run.history if log.get("loss") is not None]
    return mean(losses[-max(1, len(losses) // 10) :])


def _suggestion(entry: Mapping[str, Any], metric: str, noun: str) -> dict[str, Any]:
    """The rate of the best validation score; within its noise that of the lowest loss there."""
    method, recipe = entry["method"], entry["recipe"]
    points = [point for point in entry["points"] if point["score"] is not None]
    if not points:
        return {"suggested": None, "said": f"{method}: no rate led to an end."}
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max(points, key=lambda point: sign * point["score"])
    near = [p for p in points if sign * p["score"] >= sign * best["score"] - best["noise"]]
    chosen = min(near, key=lambda point: point["validation_loss"])
    usual = next((point for point in points if point["rate"] == recipe), None)
    words = f"{metric.replace('_', ' ')} {number(chosen['score'])} on the validation {noun}"
    if usual is chosen:
        said = (
            f"{method}: the recipe's rate, {recipe:g}, is as good as any that was tried ({words})."
        )
    else:
        said = f"{method}: the rate {chosen['rate']:g} suggests itself ({words})"
        if usual is not None:
            noise = ", which is within the noise" if usual in near else ""
            said += f"; the recipe's {recipe:g} has {number(usual['score'])}{noise}"
        said += "."
    ends = {points[0]["rate"]: "lowest", points[-1]["rate"]: "highest"}
    if len(points) > 1 and (end := ends.get(chosen["rate"])):
        said += f" It is the {end} that came to an end: one beyond it may do better."
    return {"suggested": chosen["rate"], "said": said}
