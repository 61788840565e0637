"""Pictures: of a training as PNG files, of several as SVG in a page.

Of one, its curves, confusion matrix and reliability diagram; of several, what they learn and cost.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from footwork.arrays import IntArray
from footwork.errors import ConfigError
from footwork.evaluation.calibration import ReliabilityBin, merged_bins
from footwork.evaluation.metrics import Interval, wilson_interval
from footwork.evaluation.text import shorten
from footwork.files.folders import published_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LogHistory = Sequence[Mapping[str, Any]]
Curve = Sequence[Sequence[float]]
"""Pairs of x and y, ascending in x."""

_INK, _GRID, _FIRST, _SECOND = "#26262b", "#e4e4e8", "#2a6fdb", "#d9662b"
_COLOURS = ("#3b7de0", "#e0702f", "#2aa37a", "#b45fc4", "#c99a1a", "#d9506f", "#35a7bd", "#8f8f98")
_MARKERS = "osD^vPX"
_LONG = 4
"""Times as long that one training lasts as another, from which on epochs are drawn by powers."""
_SPAN = 500  # ratio of the ends of an axis by powers, up to which more than the powers are numbered
_NUMBERED_CLASSES = 30  # with more classes the matrix is a heat map without numbers
_NAMED_CLASSES = 100  # with more classes the axes carry no names
_LABEL_WIDTH = 24
_NO_METRIC = ("loss", "runtime", "samples_per_second", "steps_per_second")
_FEW_ROWS = 20  # a bin of the reliability diagram with fewer joins its neighbour
_SMOOTHED_FROM = 40  # logged losses from which a running mean is drawn over them


def plot_curves(history: LogHistory, path: Path, metrics: Sequence[str] = ()) -> None:
    """Draw loss, validation metrics and learning rate of Trainer's `state.log_history` by step.

    Of the `eval_` figures those named, or the first two.
    """
    if not metrics:
        said = dict.fromkeys(key for log in history for key in log if key.startswith("eval_"))
        names = [key.removeprefix("eval_") for key in said]
        metrics = [name for name in names if name not in _NO_METRIC][:2]
    panels = {
        "loss": ["loss", "eval_loss"],
        "validation": [f"eval_{name}" for name in metrics],
        "learning rate": ["learning_rate"],
    }
    logged = {
        title: [key for key in keys if _series(history, key)[0]] for title, keys in panels.items()
    }
    drawn = {title: keys for title, keys in logged.items() if keys} or {"": []}
    heights = [0.5 if title == "learning rate" else 1.0 for title in drawn]
    with _panels(path, heights, "step") as axes:
        for axis, (title, keys) in zip(axes, drawn.items(), strict=True):
            axis.set_ylabel(title)
            for key, colour in zip(keys, (_FIRST, _SECOND), strict=False):
                _draw_series(axis, history, key, colour)
            if title == "learning rate":
                axis.set_ylim(bottom=0.0)
                axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
            if len(keys) > 1 or title == "validation":
                axis.legend(frameon=False, loc="best")


def plot_lines(panels: Mapping[str, Mapping[str, Sequence[float]]], path: Path, along: str) -> None:
    """Draw named lines over 0, 1, 2, …, which `along` names, in panels one below the other."""
    with _panels(path, [1.0] * len(panels), along) as axes:
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            axis.set_ylabel(title)
            for (name, values), colour in zip(lines.items(), (_FIRST, _SECOND), strict=True):
                axis.plot(values, color=colour, linewidth=1.6, marker="o", markersize=4, label=name)
            axis.legend(frameon=False, loc="best")


@contextmanager
def _panels(path: Path, heights: Sequence[float], along: str) -> Iterator[list[Axes]]:
    """Axes one below the other over a common x, which `along` names, into a file in the end."""
    figure = _figure(8.0, 1.2 + 2.4 * sum(heights))
    shape: Any = {"sharex": True, "squeeze": False, "gridspec_kw": {"height_ratios": heights}}
    axes = list(figure.subplots(len(heights), **shape)[:, 0])
    for axis in axes:
        _tidy(axis)
    yield axes
    axes[-1].set_xlabel(along)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels(axes)
    _save(figure, path)


def plot_confusion(confusion: IntArray, labels: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix, (C, C), true by predicted, coloured by the share of each true class.

    Up to 30 classes each cell carries its rows; beyond, the matrix is a heat map. Long labels are
    shortened.
    """
    num_classes = len(labels)
    numbered = num_classes <= _NUMBERED_CLASSES
    side = (max(2.6, 0.46 * num_classes) if numbered else 9.0) + 2.4
    figure = _figure(side + 0.6, side)
    from matplotlib.colors import PowerNorm

    axis = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # Without numbers only colour tells a share of 2 % from none: spread the small ones.
    norm = PowerNorm(1.0 if numbered else 0.5, vmin=0.0, vmax=1.0)
    image = axis.imshow(share, cmap="Blues", norm=norm)
    bar = figure.colorbar(image, ax=axis, fraction=0.04, pad=0.03, format="{x:.0%}")
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    _name_classes(axis, labels)
    if numbered:
        size = min(10.0, 26.0 / max(len(str(confusion.max())), 2))
        centred: Any = {"ha": "center", "va": "center"}
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if share[row, column] > 0.55 else _INK
                axis.text(column, row, str(count), color=colour, fontsize=size, **centred)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    _save(figure, path)


def plot_reliability(
    before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin], path: Path
) -> None:
    """Draw accuracy against probability, before and after the temperature, and the rows of each.

    Bins of few rows are drawn together with their neighbours, each with its 95 % interval; the bars
    below are of the bins as they are.

    Source: the reliability diagram of Guo et al. 2017, figure 1 (arXiv:1706.04599).
    """
    figure = _figure(5.6, 6.4)
    top, bottom = figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": (3.0, 1.0)})
    top.plot((0, 1), (0, 1), color=_INK, linewidth=1.0, linestyle=(0, (4, 4)), label="ideal")
    named = (("before", before, _SECOND), ("after temperature", after, _FIRST))
    for place, (name, bins, colour) in enumerate(named):
        if not bins:
            continue
        total = sum(each.rows for each in bins)
        drawn = merged_bins(bins, max(_FEW_ROWS, total // 50))
        x, y = [each.probability for each in drawn], [each.accuracy for each in drawn]
        top.plot(x, y, color=colour, linewidth=1.6, alpha=0.8)
        sizes = [16 + 220 * each.rows / total for each in drawn]
        top.scatter(x, y, sizes, color=colour, alpha=0.8, linewidth=0, label=name)
        sure = [wilson_interval(each.accuracy * each.rows, each.rows) for each in drawn]
        ends = [each.low for each in sure], [each.high for each in sure]
        top.vlines(x, *ends, color=colour, linewidth=1.0, alpha=0.5)
        rows = [each.rows / total for each in bins]
        width = bins[0].high - bins[0].low
        left = [each.low + width * (0.08 + 0.42 * place) for each in bins]
        bottom.bar(left, rows, 0.42 * width, color=colour, alpha=0.85, align="edge")
    for axis in (top, bottom):
        _tidy(axis)
    figure.align_ylabels([top, bottom])
    top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that was right")
    bottom.set(xlabel="probability", ylabel="share of rows")
    legend = top.legend(frameon=False, loc="upper left")
    for handle in legend.legend_handles[1:]:
        handle.set_sizes([36])
    _save(figure, path)


# Of a comparison, as SVG that takes the colours of the page it stands in


class Style(NamedTuple):
    """How one of several is drawn, in all figures alike."""

    colour: str
    marker: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each name, in colours that can be told apart on white and on black."""
    return dict(zip(names, map(Style, cycle(_COLOURS), cycle(_MARKERS)), strict=False))


def draw_learning(
    curves: Mapping[str, Sequence[Curve]],
    levels: Mapping[str, float],
    metric: str,
    looks: Mapping[str, Style],
) -> str:
    """Draw a validation metric by epoch: of each seed thin, their mean thick.

    `curves` are by method, one a seed; `levels` are of methods that learn in no epochs.
    """
    with _page_figure(3.8) as (figure, axes):
        [axis] = axes
        for name, seeds in curves.items():
            for curve in seeds if len(seeds) > 1 else ():
                axis.plot(*zip(*curve, strict=True), color=looks[name].colour, lw=0.9, alpha=0.4)
            _draw_line(axis, _mean_curve(seeds), name, looks)
        for name, value in levels.items():
            axis.axhline(value, color=looks[name].colour, lw=1.6, ls=(0, (5, 3)), label=name)
        longest = max((curve[-1][0] for seeds in curves.values() for curve in seeds), default=1.0)
        if longest > _LONG * min((seeds[0][-1][0] for seeds in curves.values()), default=1.0):
            _by_powers(axis)
        axis.set(xlabel="epoch", ylabel=f"validation {metric}")
        return _svg(figure, axes)


def draw_costs(
    figures: Mapping[str, tuple[float, Interval]],
    bars: Mapping[str, float],
    words: tuple[str, str],
    looks: Mapping[str, Style],
    perfect: float = 1.0,
) -> str:
    """Draw a metric, with its interval, against what it costs, on a scale of powers of ten.

    `figures` are by method, the cost and the metric; `bars`, by name, are to be beaten; `words` are
    what the cost and the metric are called; `perfect` is the best that the metric can be.
    """
    with _page_figure(3.4) as (figure, axes):
        [axis] = axes
        for name, (cost, value) in figures.items():
            colour, marker = looks[name]
            ends = [[value.value - value.low], [value.high - value.value]]
            axis.errorbar(
                [cost], [value.value], ends, color=colour, fmt=marker, ms=8, lw=1.4, label=name
            )
        spans = [(value.low, value.high) for _, value in figures.values()]
        farthest = max(abs(end - perfect) for span in spans for end in span)
        for (name, level), dashes in zip(bars.items(), cycle(((4, 3), (1, 2))), strict=False):
            # One that is far worse would press all others together.
            if abs(level - perfect) < 1.5 * farthest:
                axis.axhline(level, color=_INK, lw=1.1, ls=(0, dashes), label=name)
        _by_powers(axis)
        axis.set(xlabel=words[0], ylabel=words[1])
        return _svg(figure, axes)


def draw_rates(
    tried: Mapping[str, Sequence[Sequence[float]]],
    marks: Mapping[str, tuple[float | None, float | None]],
    metric: str,
    looks: Mapping[str, Style],
) -> str:
    """Draw a validation metric, and the training loss below it, against the learning rate.

    By method: `tried` has rates with both, ascending; `marks` the rate of the recipe, a dotted
    line, and the one to take, a ring.
    """
    with _page_figure(5.4, rows=2) as (figure, axes):
        for name, points in tried.items():
            rates, *columns = zip(*points, strict=True)
            usual, best = marks[name]
            for axis, values in zip(axes, columns, strict=True):
                _draw_line(axis, list(zip(rates, values, strict=True)), name, looks)
                if usual is not None:
                    axis.axvline(usual, color=looks[name].colour, lw=1.1, ls=(0, (1, 2)))
                if best is not None:
                    ring: Any = {"s": 190, "facecolors": "none", "edgecolors": looks[name].colour}
                    axis.scatter([best], [values[rates.index(best)]], **ring)
        for axis, called in zip(axes, (f"validation {metric}", "training loss"), strict=True):
            axis.set_ylabel(called)
        _by_powers(axes[-1])
        axes[-1].set_xlabel("peak learning rate")
        figure.align_ylabels(axes)
        return _svg(figure, axes)


@contextmanager
def _page_figure(height: float, rows: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure whose letters are ink, and its axes, one below the other."""
    figure = _figure(8.0, height)
    from matplotlib import rc_context

    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    with rc_context(dict.fromkeys(inked, _INK) | {"svg.hashsalt": "footwork"}):
        axes = list(figure.subplots(rows, sharex=True, squeeze=False)[:, 0])
        for axis in axes:
            _tidy(axis)
        yield figure, axes


def _draw_line(axis: Axes, points: Curve, name: str, looks: Mapping[str, Style]) -> None:
    colour, marker = looks[name]
    x, y = zip(*points, strict=True) if points else ((), ())
    axis.plot(x, y, color=colour, lw=1.9, marker=marker, ms=5, label=name)


def _by_powers(axis: Axes) -> None:
    """Let x go by powers of ten, with numbers that can be read beside each other."""
    from matplotlib.ticker import LogLocator

    def short(x: float, _: Any = None) -> str:
        if x >= 1e4:
            return f"{x / 1e6:g} M" if x >= 1e6 else f"{x / 1e3:g} k"
        return f"{x:g}"

    axis.set_xscale("log", subs=[])
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < _SPAN * low else (1,)))
    axis.xaxis.set_major_formatter(short)


def _mean_curve(seeds: Sequence[Curve]) -> Curve:
    """The mean over the seeds, as far as all of them go."""
    known = [{float(x): y for x, y in curve} for curve in seeds]
    shared = [x for x in known[0] if all(x in each for each in known)]
    return [(x, float(np.mean([each[x] for each in known]))) for x in shared]


def _svg(figure: Figure, axes: Sequence[Axes]) -> str:
    """The figure with its legend beside it, in the colours of a page: its letters, its lines."""
    axes[0].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)
    buffer = StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
    )
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return drawn.replace(_INK, "currentColor").replace(_GRID, "var(--line)")


def _figure(width: float, height: float) -> Figure:
    """Make a figure of its own, in inches, without pyplot's global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "Pictures need Matplotlib, which is not installed: pip install 'footwork[plots]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with published_file(path) as sibling, warnings.catch_warnings():
        # A label in a script that no installed font has is drawn as boxes: worse than its name,
        # better than no picture.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(
            sibling, format="png", dpi=144, bbox_inches="tight", metadata={"Software": None}
        )


def _tidy(axis: Axes) -> None:
    axis.grid(color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_GRID)
    axis.tick_params(color=_GRID, labelcolor=_INK)


def _series(history: LogHistory, key: str) -> tuple[list[float], list[float]]:
    """Steps and finite values of what was logged under a key."""
    logged = [log for log in history if "step" in log and isinstance(log.get(key), int | float)]
    finite = [log for log in logged if math.isfinite(log[key])]
    return [float(log["step"]) for log in finite], [float(log[key]) for log in finite]


def _draw_series(axis: Axes, history: LogHistory, key: str, colour: str) -> None:
    steps, values = _series(history, key)
    measured = key.startswith("eval_")
    name = key.removeprefix("eval_").replace("_", " ")
    label = {"loss": "training", "eval_loss": "validation"}.get(key, name)
    if measured or len(values) < 2:
        axis.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=4, label=label)
    elif len(values) < _SMOOTHED_FROM or key != "loss":
        axis.plot(steps, values, color=colour, linewidth=1.6, label=label)
    else:
        width = max(5, len(values) // 40)
        padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
        smooth = np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
        axis.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
        axis.plot(steps, smooth, color=colour, linewidth=1.8, label=label)


def _name_classes(axis: Axes, labels: Sequence[str]) -> None:
    if len(labels) > _NAMED_CLASSES:
        return
    names = [shorten(label, _LABEL_WIDTH) for label in labels]
    size = 9.0 if len(labels) <= _NUMBERED_CLASSES else 460.0 / len(labels)
    places = range(len(names))
    axis.set_xticks(places, names, parse_math=False, fontsize=size)
    axis.set_yticks(places, names, parse_math=False, fontsize=size)
    if max(map(len, names)) > 4 and len(names) > 2:
        upright = len(names) > 12
        for tick in axis.get_xticklabels():
            tick.set(rotation=90 if upright else 40, rotation_mode="anchor", ha="right")
            tick.set_verticalalignment("center" if upright else "top")
