"""A comparison of methods as tables and as a page with figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError
from footwork.evaluation.metrics import Interval
from footwork.evaluation.plots import Style, draw_costs, draw_learning, draw_rates, styles
from footwork.evaluation.text import duration, number
from footwork.files.folders import write_json
from footwork.options import LOWER_IS_BETTER
from footwork.pages.templates import write_page

PAGE, DOCUMENT = "report.html", "comparison.json"
NOISE = (
    "A difference is within the noise where its 95 % interval holds 0 (a paired bootstrap over the "
    "rows, the seeds pooled, all pairs of methods together), or where it is no larger than the "
    "spread, the standard deviation over the seeds."
)


def table_of(manifest: Mapping[str, Any]) -> list[list[str]]:
    """The table of methods, baselines below them: a head, and rows of the same length."""
    metric = manifest["metric"].replace("_", " ")
    rows = [["method", metric, "95 % interval", "trained", "epochs", "a run", "memory"]]
    for each in manifest["methods"]:
        if each["value"] is None:
            rows.append([each["method"], "failed", *["–"] * 5])
            continue
        lost = len(each["seeds"]) < each["runs"]
        some = f" ({len(each['seeds'])} of {each['runs']} runs)" if lost else ""
        share = each["trainable_parameters"] / each["parameters"]
        rows.append(
            [
                each["method"],
                f"{value_text(each)}{some}",
                ends_text(each),
                f"{each['trainable_parameters']:,} ({share:.{0 if share >= 0.1 else 2}%})",
                "–" if each["epochs"] is None else f"{each['epochs']:.3g}",
                seconds_text(each["seconds"]),
                f"{each['peak_memory_bytes'] / 2**20:,.0f} MiB",
            ]
        )
    for each in manifest["baselines"]:
        rows.append([each["called"], value_text(each), ends_text(each), *["–"] * 4])
    return rows


def gaps_table(manifest: Mapping[str, Any]) -> list[list[str]]:
    """What the pretraining is worth with each method; empty where nothing began at random."""
    rows = []
    for each in manifest["transfer_gap"]:
        start, epoch = each["head_start"], each["head_start_epoch"]
        begun = "–" if start is None else f"{start:+.3f} after epoch {epoch:g}"
        clear = "yes" if each["clear"] else "no"
        rows.append([each["method"], each["than"], begun, interval_text(each), clear])
    head = ["method", "random weights", "head start, validation", "better by in the end", "clear"]
    return [head, *rows] if rows else []


def rates_table(rates: Mapping[str, Any]) -> list[list[str]]:
    """What came of each rate."""
    rows = [["rate", "validation", "its loss", "training loss", ""]]
    for point in rates["points"]:
        said = ["the recipe's"] if point["rate"] == rates["recipe"] else []
        said += ["suggested"] if point["rate"] == rates["suggested"] else []
        said += dict.fromkeys(point["failures"])
        keys = ("score", "validation_loss", "training_loss")
        figures = [number(point.get(key)) for key in keys]
        rows.append([f"{point['rate']:g}", *figures, "; ".join(said)])
    return rows


def write_comparison(folder: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Write `comparison.json` and `report.html`; returns what is missing there, a sentence each."""
    write_json(folder / DOCUMENT, manifest)
    looks = styles(each["method"] for each in manifest["methods"])
    notes: tuple[str, ...] = ()
    figures: dict[str, str] = {}
    try:
        figures = dict(_drawn(manifest, looks))
    except ConfigError as error:
        notes = (f"No figures in {PAGE}. {error}",)
    write_page(
        folder / PAGE,
        "footwork/comparison/comparison.html",
        manifest=manifest,
        table=table_of(manifest),
        gaps=gaps_table(manifest),
        rates=[(each["said"], rates_table(each)) for each in manifest["rates"]],
        looks={name: look.colour for name, look in looks.items()},
        figures=figures,
        noise=NOISE,
        notes=[*manifest["notes"], *notes],
    )
    return notes


def _drawn(manifest: Mapping[str, Any], looks: Mapping[str, Style]) -> Iterator[tuple[str, str]]:
    """Figures by their captions."""
    metric = manifest["metric"].replace("_", " ")
    done = {each["method"]: each for each in manifest["methods"] if each["value"] is not None}
    curves = {name: each["curves"] for name, each in done.items() if each["curves"]}
    flat = {name: each["validation"] for name, each in done.items() if not each["curves"]}
    levels = {name: value for name, value in flat.items() if value is not None}
    if curves:
        yield (
            "What each learns: the head start of the first epochs, and what remains of it in the "
            "end. Thin: each seed. Dashed: what is solved at once.",
            draw_learning(curves, levels, metric, looks),
        )
    bars = {each["called"]: each["value"] for each in manifest["baselines"] if each["value"]}
    for key, cost in (("trainable_parameters", "trained parameters"), ("seconds", "seconds a run")):
        costs = {
            name: (each[key], Interval(*(each[end] for end in ("value", "low", "high"))))
            for name, each in done.items()
            if each[key]
        }
        if costs:
            words = (cost, f"{manifest['evaluated_on']} {metric}")
            perfect = 0.0 if manifest["metric"] in LOWER_IS_BETTER else 1.0
            yield f"What it costs: {cost}.", draw_costs(costs, bars, words, looks, perfect)
    tried, marks = {}, {}
    for each in manifest["rates"]:
        keys = ("rate", "score", "training_loss")
        points = [[point[key] for key in keys] for point in each["points"] if "noise" in point]
        if points:
            tried[each["method"]] = points
            marks[each["method"]] = (each["recipe"], each["suggested"])
    if tried:
        yield (
            "The learning rate: high ones forget or diverge, low ones stall. Dotted: the recipe's. "
            "Ringed: the one that suggests itself.",
            draw_rates(tried, marks, metric, looks),
        )


def value_text(figure: Mapping[str, Any]) -> str:
    """With the spread over the seeds, where there is one."""
    spread = figure["spread"]
    return number(figure["value"]) + (f" ± {number(spread)}" if spread else "")


def ends_text(figure: Mapping[str, Any]) -> str:
    """Of its interval."""
    return f"{number(figure['low'])} to {number(figure['high'])}"


def interval_text(gain: Mapping[str, Any]) -> str:
    """A difference with its sign, and its interval."""
    value, low, high = (
        f"{'-' if gain[each] < 0 else '+'}{number(abs(gain[each]))}"
        for each in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def seconds_text(seconds: float) -> str:
    """As `duration`, of what may be very short."""
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"
