"""Which method for these rows: how many there are, and how near the pretraining is, both measured.

Of at most `SAMPLE` training rows the frozen encoder is asked once what it says of each. Heads are
solved from growing parts of them (are the rows enough?), beside a linear model that was never
pretrained and beside a head on the same encoder with random weights (what is the pretraining worth
here?). Fine-tuning itself is not tried: `compare` does that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from footwork.accelerator import compute_device
from footwork.arrays import FloatArray, IntArray
from footwork.errors import ConfigError, DataError
from footwork.evaluation.metrics import Interval
from footwork.evaluation.splits import FOLDED, FOLDS, StratifiedGroups
from footwork.evaluation.text import Shown, number
from footwork.files.faults import counted
from footwork.files.paths import shell_word
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import judge_as_is
from footwork.finetuning.head import choose_reading, drawn, loss_of
from footwork.finetuning.plan import plan, settle
from footwork.finetuning.task import EncodedRows, Learner, Notify, Task, logits_of
from footwork.methods.adaptation import SCRATCH
from footwork.methods.head import solve
from footwork.methods.table import AUTO, PROBE, UNPRETRAINED, method_of
from footwork.models.pooling import FeatureReader, let_head_read
from footwork.options import LOWER_IS_BETTER
from footwork.tables.held import is_held

SAMPLE = FOLDED
"""Training rows that the encoder is asked about."""
_COUNTED = 32  # rows, by which a new model's batch norms are set
PARTS = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the rows to learn from: the points of the learning curve."""
LEAST = 20
"""Rows, below which nothing can be told."""
POINT = 0.01
"""What counts as a gain, and what no method can win where less is left to win."""
_WORDS = {
    "frozen": "a head on the frozen encoder",
    "unpretrained": "a linear model without pretraining",
    "random": "a head on random weights",
}

Answer = Callable[[IntArray, IntArray], FloatArray]
"""Places in the sample to learn from, and places to answer for, to logits (R, C) of these."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Advice(Shown):
    """A method for some rows, and what was measured to choose it."""

    rows: int
    """To train on."""
    metric: str
    scores: dict[str, Interval]
    """On left-out rows: of a head on the frozen encoder (`frozen`), of a linear model without any
    pretraining (`unpretrained`; none of images), and of a head on random weights (`random`)."""
    curve: tuple[tuple[int, float], ...]
    """Rows → what the first reaches when solved from so many."""
    method: str
    learning_rate: float | None
    """None, as for the epochs, where nothing is trained in steps."""
    num_epochs: float | None
    reasons: tuple[str, str, str]
    """Of size, of likeness, and of the choice."""
    command: str
    notes: tuple[str, ...]
    """What the user should know of the rows, one sentence each."""
    skipped: tuple[Any, ...]
    """Rows that were left out."""

    @property
    def summary(self) -> str:
        """The method."""
        return f"{self.method} for {self.rows:,} rows"

    def to_text(self) -> str:
        """For people."""
        lines = ["On left-out rows", ""]
        for name, value in self.scores.items():
            ends = f"[{number(value.low)}, {number(value.high)}]"
            lines.append(f"  {_WORDS[name]:<36}{self.metric} {number(value.value)} {ends}")
        curve = ", ".join(f"{number(score)} from {rows:,}" for rows, score in self.curve)
        lines += [f"  {'the first, by rows':<36}{curve}", "", *self.reasons]
        lines += ["", "With the options that were given here:", self.command]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)


def advise(task: Task, source: Any, config: FinetuningConfig, notify: Notify) -> Advice:
    """Find the method for some rows, as `Interface.advise` tells."""
    if config.method != AUTO:
        raise ConfigError(
            f"`method` is what is to be found out, got {config.method}. Leave it out; `compare` "
            "measures methods beside each other."
        )
    if config.target is not None:
        raise ConfigError(
            "`target` has no part in the advice, which is measured on rows that have labels, got "
            f"{config.target}. Leave it out."
        )
    with tempfile.TemporaryDirectory() as run:
        # What goes on with an adapter has its method: asked is what would begin anew.
        probe = replace(config.for_method(PROBE), continue_adapter=False)
        learner = plan(task, source, probe, lambda _: None)
        data, count = learner.data, len(learner.data.splits["train"])
        if count < LEAST:
            raise DataError(
                f"{counted(count, 'row')} to train on {'is' if count == 1 else 'are'} too few to "
                f"measure anything by: at least {LEAST} are needed."
            )
        size = task.encoder_size(learner.model)
        contrasts = data.contrasts and not learner.head.known
        usual, _ = config.chosen(count, size, contrasts=contrasts)
        settled, _, _ = settle(task, data, usual, learner.preparation, learner.model)
        notify(f"asking the frozen encoder about {min(count, SAMPLE):,} of {count:,} {task.noun}")
        warnings = task.audit(learner, lambda _: None)
        rows = task.encode(learner, Path(run), notify)
        scores, curve, metric = _measured(learner, rows, notify)
    method, reasons = _reasons(scores, curve, metric, settled, count)
    of_steps = method == settled.method and settled.method_row.rates
    given = "DATA" if is_held(source) else shell_word(source)
    words = [*task.command, given, "OUT", "--method", method]
    if method_of(method).has_model:
        words += ["--model", shell_word(config.model_id)]
    return Advice(
        rows=count,
        metric=metric,
        scores=scores,
        curve=curve,
        method=method,
        learning_rate=settled.learning_rate if of_steps else None,
        num_epochs=settled.num_epochs if of_steps else None,
        reasons=reasons,
        command=" ".join(words),
        notes=(*rows.data.notes, *warnings),
        skipped=rows.data.skipped,
    )


def _measured(
    learner: Learner, rows: EncodedRows, notify: Notify
) -> tuple[dict[str, Interval], tuple[tuple[int, float], ...], str]:
    """`Advice.scores`, `Advice.curve`, and their metric."""
    data, config = rows.data, learner.config
    learner = replace(learner, data=data)  # of images some may not have been readable
    chosen = drawn(len(data.splits["train"]), SAMPLE)
    targets, place = data.splits["train"].targets[chosen], np.array(chosen)
    judge = partial(judge_as_is, data)
    learner.model.to(compute_device())
    fresh = SCRATCH.adapt(learner.model, config, "", None).to(compute_device())
    let_head_read(fresh, choose_reading(learner, rows))
    head = _head_on(learner, rows, learner.model, chosen)
    notify("solving heads on growing parts of them")
    learned = [round(len(chosen) * (1 - 1 / FOLDS) * part) for part in PARTS]
    alike = rows.alike(targets, rows.numbers("train", chosen))
    reached = [judge(targets, _left_out(alike, head, part)) for part in PARTS]
    metric = reached[-1].primary_metric
    found = {"frozen": reached[-1]}
    if rows.has_linear:
        notify("fitting linear models on them")

        def linear(known: IntArray, asked: IntArray) -> FloatArray:
            return rows.unpretrained(place[known].tolist(), place[asked].tolist())

        found["unpretrained"] = judge(targets, _left_out(alike, linear, 1.0))
    notify(f"asking the same encoder with random weights about {len(chosen):,}")
    _count_batch(fresh, rows, chosen)
    random = _head_on(learner, rows, fresh, chosen)
    found["random"] = judge(targets, _left_out(alike, random, 1.0))
    scores = {name: each.metrics[metric] for name, each in found.items()}
    curve = tuple(zip(learned, (each.metrics[metric].value for each in reached), strict=True))
    return scores, curve, metric


def _count_batch(model: Any, rows: EncodedRows, chosen: Sequence[int]) -> None:
    """Give the batch norms of a new model the mean and variance of some training rows.

    Without any it says next to nothing of an image, however good its architecture is.
    """
    norms = [each for each in model.modules() if getattr(each, "running_mean", None) is not None]
    model.eval()
    for norm in norms:
        norm.momentum = None  # the mean over all that it sees, whatever the architecture asks for
        norm.train()
    if norms:
        inputs = rows.inputs("train", chosen[:_COUNTED])
        with torch.no_grad():
            model(**{name: each.to(model.device) for name, each in inputs.items()})


def _head_on(learner: Learner, rows: EncodedRows, model: Any, chosen: Sequence[int]) -> Answer:
    """Solves a head on what the output layer of a model reads of some training rows."""
    precision = learner.config.mixed_precision
    features = torch.from_numpy(logits_of(rows, FeatureReader(model), "train", precision, chosen))
    targets, numbers = learner.data.splits["train"].targets[chosen], rows.numbers("train", chosen)
    wanted, loss = torch.from_numpy(learner.learned(targets)), loss_of(learner.config, learner.data)
    classes = max(len(learner.data.labels), 1)
    mean, spread = learner.scale or (0.0, 1.0)

    def answer(known: IntArray, asked: IntArray) -> FloatArray:
        alike = rows.alike(targets[known], [numbers[place] for place in known])
        head = solve(features[known], wanted[known], classes, loss, alike)
        logits: FloatArray = (features[asked] @ head.weight.T + head.bias).numpy()
        return logits * np.float32(spread) + np.float32(mean)

    return answer


def _left_out(alike: StratifiedGroups, answer: Answer, part: float) -> FloatArray:
    """Logits of all rows, each by what learned from a part of the other folds."""
    fold, order = alike.folds()
    answers: list[tuple[IntArray, FloatArray]] = []
    for out in range(fold.max() + 1):
        known = order[fold != out]
        known = known[np.linspace(0, len(known) - 1, max(2, round(part * len(known)))).astype(int)]
        asked = np.sort(order[fold == out])
        answers.append((asked, answer(known, asked)))
    logits = np.empty((len(order), answers[0][1].shape[1]), np.float32)
    for asked, said in answers:
        logits[asked] = said
    return logits


def _reasons(
    scores: dict[str, Interval],
    curve: tuple[tuple[int, float], ...],
    metric: str,
    usual: FinetuningConfig,
    count: int,
) -> tuple[str, tuple[str, str, str]]:
    """The method for `count` rows, and three sentences: of size, of likeness, and of the choice.

    Where the best of what costs seconds leaves less than a point, nothing more can be won.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    head, others = scores["frozen"], {n: value for n, value in scores.items() if n != "frozen"}
    (before, less), (rows, reached) = curve[-2:]
    gain = sign * (reached - less)
    enough = POINT if sign > 0 else POINT * less  # amounts have a unit of their own
    size = (
        f"Size: from {before:,} to {rows:,} rows the head on the frozen encoder "
        f"{'gains' if gain >= 0 else 'loses'} {number(abs(gain))} of {metric}, so more rows "
        f"would {'' if gain >= enough else 'hardly '}help"
        f"{f'; there are {count:,}' if count > SAMPLE else ''}."
    )
    above = {name: sign * (head.value - value.value) for name, value in others.items()}
    sure = {n: above[n] > 0 and not head.overlaps(value) for n, value in others.items()}
    beside = " and ".join(
        f"{number(abs(by))} {'above' if by >= 0 else 'below'} {_WORDS[name]}"
        for name, by in above.items()
    )
    near = "some way from" if any(sure.values()) else "not clearly nearer than any other to"
    near = "near" if all(sure.values()) else near
    likeness = f"Likeness: it is {beside}: what the model was pretrained on is {near} these rows."
    left = {name: 1 - value.value for name, value in scores.items()} if sign > 0 else {}
    if left.get("unpretrained", 1) < POINT:
        method, why = UNPRETRAINED, "it leaves less than a point to win"
    elif left.get("frozen", 1) < POINT:
        method, why = PROBE, "it leaves less than a point to win"
    elif (
        above.get("unpretrained", 0) < 0
        and not head.overlaps(scores["unpretrained"])
        and not sure["random"]
    ):
        method, why = UNPRETRAINED, "the pretraining does not help here"
    else:
        method = usual.method
        why = (
            "from so many rows an encoder of this size did best with it on other data "
            f"(docs/methods.md), at rate {usual.learning_rate:g}, {usual.num_epochs:g} epochs; "
            "`compare` tries it on these"
        )
    return method, (size, likeness, f"Choice: {method}, because {why}.")
