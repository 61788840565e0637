"""What a domain adaptation is worth: beside the source alone, and beside the target's own labels.

A half of the target's rows takes part in the training, without labels; the other half judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, FloatArray
from footwork.errors import ConfigError, DataError, ModelError
from footwork.evaluation.result import Evaluation
from footwork.evaluation.text import ends, number
from footwork.files.faults import counted
from footwork.finetuning.card import verdict
from footwork.finetuning.data import Inputs, LabelledData, held_out, judge_as_is
from footwork.finetuning.task import EncodedRows, Learner, Notify, Task, logits_of
from footwork.models.heads import output_layer_name
from footwork.models.pooling import FeatureReader
from footwork.tables.labels import encode_targets

TARGET = "target"
Data = TypeVar("Data", bound=LabelledData)
_FEWEST = 2
SOURCE_ONLY, ADAPTED, CEILING = "source_only", "adapted", "ceiling"
_CALLED = {
    SOURCE_ONLY: "source alone",
    ADAPTED: "adapted (this model)",
    CEILING: "target's labels",
}
_VALIDATION = 0.1
"""Share of the target's rows with labels that a ceiling is validated on."""
_TOLD_ROWS, _FOLDS = 1000, 5
"""Of each domain, by which a linear classifier is to tell them apart."""


def known_targets(
    labels: Sequence[Sequence[str] | None], class_names: Sequence[str], task: str
) -> NDArray[Any]:
    """Labels as `encode_targets` makes them, NaN in the place of None."""
    encoded = encode_targets([row for row in labels if row is not None], class_names, task)
    targets = np.full((len(labels), *encoded.shape[1:]), np.nan)
    targets[[row is not None for row in labels]] = encoded
    return targets


def add_target_split(
    data: Data,
    every: Any,
    seed: int,
    contents: Callable[[Any], Sequence[str]],
    said: tuple[str, str | None],
) -> Data:
    """The data with rows of another domain as its split `target`: twice as many as train, at most.

    A row that is one to train on would be judged as known, and is left out; so are repetitions.

    Args:
        data: What is trained on.
        every: All that can be read: a split that can `take` some, its targets NaN where no label is
            known.
        seed: By which they are drawn.
        contents: What of each row of a split makes it that row.
        said: What the target is called, and why no label is known, where none is.

    Raises:
        DataError: There are not even two.
    """
    seen, (name, why) = {*contents(data.splits["train"])}, said
    first = {content: row for row, content in reversed([*enumerate(contents(every))])}
    new = [row for content, row in first.items() if content not in seen]
    left, count = len(every) - len(new), len(new)
    every = every.take(np.isin(np.arange(len(every)), new))
    if count < _FEWEST:
        raise DataError(
            f"The target has {counted(count, 'row')} that can be read, but for those to train on; "
            "it takes one to learn from and one to judge by."
        )
    order = np.random.default_rng(seed).permutation(count)
    part = every.take(np.isin(np.arange(count), order[: 2 * len(data.splits["train"])]))
    known = int(is_known(part.targets).sum())
    some = f"{len(part):,} of {count:,}" if len(part) < count else f"{count:,}"
    labels = f"none has a label, so nothing is judged on them: {why}"
    if known:
        labels = f"{known:,} have a label, which is not learned from but judges"
    note = f"Target {name}: {some} rows are taken, and {labels.rstrip('.')}."
    if left:
        note += f" {counted(left, 'row')} of it, repeated or among those to train on, stay out."
    return replace(
        data,
        splits={**data.splits, TARGET: part},
        target_sha256=sha256(
            "\n".join(contents(part)).encode("utf-8", "surrogatepass")
        ).hexdigest(),
        notes=(*data.notes, note),
    )


def is_known(targets: NDArray[Any]) -> BoolArray:
    """Which rows of a target have a label, (N,), by their targets, (N, …)."""
    known: BoolArray = np.isfinite(targets.reshape(len(targets), -1)).all(axis=1)
    return known


def target_halves(data: LabelledData, seed: int) -> tuple[list[int], list[int]]:
    """Rows of the target to learn from, and those held out; whatever their labels are."""
    order = np.random.default_rng(seed).permutation(len(data.splits[TARGET])).tolist()
    half = min((len(order) + 1) // 2, len(data.splits["train"]))
    return sorted(order[:half]), sorted(order[half:])


def require_domains(task: Task, data: LabelledData, model: Any) -> None:
    """Refuse what cannot be adapted.

    Raises:
        ConfigError: The task reads no target.
        ModelError: The model has not one place where domains could be told.
    """
    if TARGET not in data.splits:
        raise ConfigError(f"{task.application} reads no `target`. Leave it out.")
    try:
        output_layer_name(model)
    except ModelError as error:
        raise ModelError(
            f"{type(model).__name__} has no single linear output layer with a bias, on whose "
            "features domains could be told apart. Leave out --target, or take another base."
        ) from error


def with_target_rows(rows: EncodedRows, seed: int) -> EncodedRows:
    """Rows whose training split has, after its own, those of the target to learn from."""
    learned, _ = target_halves(rows.data, seed)
    train = [*rows.places["train"], *rows.numbers(TARGET, learned)]
    return rows.rearranged(rows.data, {**rows.places, "train": train})


def labelled_target(rows: EncodedRows, chosen: Sequence[int], seed: int) -> EncodedRows | None:
    """Some rows of the target, with their labels, to train on; None if they are too few."""
    data = rows.data
    if len(chosen) < _FEWEST:
        return None
    targets = data.splits[TARGET].targets[list(chosen)]
    targets = targets.astype(data.splits["train"].targets.dtype)
    numbers = np.array(rows.numbers(TARGET, chosen))
    groups = np.arange(len(chosen))
    try:
        held = held_out(targets, data.task, groups, _VALIDATION, seed)
    except DataError:
        return None
    if not held.any():
        return None
    parts = {"train": ~held, "validation": held}
    found = {name: np.flatnonzero(mask).tolist() for name, mask in parts.items()}
    other = LabelledData(
        task=data.task,
        labels=data.labels,
        splits={name: Inputs(tuple(part), targets[part]) for name, part in found.items()},
        held_out=True,
        sha256=data.sha256,
        paired=data.paired,
    )
    return rows.rearranged(other, {name: numbers[part].tolist() for name, part in found.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """An adapted model beside others of the same method and seed.

    All are judged as they are, without temperature and thresholds.
    """

    learned: int
    """Rows of the target that took part in the training, without labels."""
    held_out: int
    """The others, which judge."""
    noun: str
    source: Mapping[str, Evaluation]
    """By model, on the split that is reported."""
    target: Mapping[str, Evaluation]
    """By model, on the rows held out that have a label; none where none has."""
    distances: Mapping[str, float | None]
    """By model, `proxy_distance` of its features; None where rows are too few."""

    @property
    def judged(self) -> int:
        """Rows of the target whose labels judge."""
        return self.target[ADAPTED].rows if self.target else 0

    def to_dict(self) -> dict[str, Any]:
        """In what JSON can hold, for the manifest."""

        def figures(evaluations: Mapping[str, Evaluation], name: str) -> dict[str, Any] | None:
            return (evaluations[name].figures or None) if name in evaluations else None

        return {
            "learned_rows": self.learned,
            "held_out_rows": self.held_out,
            "judged_rows": self.judged,
            "models": {
                name: {
                    "source": figures(self.source, name),
                    "target": figures(self.target, name),
                    "proxy_a_distance": self.distances.get(name),
                }
                for name in dict.fromkeys((*self.source, *self.target))
            },
        }

    def table(self) -> list[list[str]]:
        """A head, and a row a model."""

        def figure(evaluation: Evaluation | None) -> str:
            found = evaluation.metrics.get(metric) if evaluation else None
            return f"{number(found.value)} ({ends(found)})" if found else "-"

        metric = self.source[ADAPTED].primary_metric
        rows = [["trained on", f"source, {metric}", f"target, {metric}", "A-distance"]]
        for name, called in _CALLED.items():
            if name in self.source or name in self.target:
                scores = figure(self.source.get(name)), figure(self.target.get(name))
                rows.append([called, *scores, number(self.distances.get(name))])
        return rows

    def sentences(self) -> list[str]:
        """What took part, what came of it, and how far apart the domains are, one each."""
        said = [
            f"Of the target {counted(self.learned, self.noun)} took part in the training, without "
            f"labels; {self.held_out:,} others were held out. The last step was taken: the source "
            "cannot tell which is best for the target."
        ]
        if self.target:
            both = self.target[ADAPTED], self.target[SOURCE_ONLY]
            said.append(verdict(*both, "the same command without `--target`"))
        else:
            said.append(
                "**Whether it serves the target better was not measured**: no row held out has a "
                "label. Label some as those to train on are, and train again."
            )
        if CEILING in self.target:
            said.append(
                "The last line is the ceiling: the same method on labels of the rows that took "
                "part without."
            )
        before, after = self.distances[SOURCE_ONLY], self.distances[ADAPTED]
        if before is not None and after is not None:
            said.append(
                f"The proxy A-distance, from 0, where a linear classifier cannot tell the domains "
                f"by their features, to 2, where it always can, is {number(after)}; of the source "
                f"alone {number(before)}."
            )
        return said


Again = Callable[[EncodedRows, str], tuple[Learner, Any]]
"""Trains the same method on other rows, without a target, by a name: a learner and its model."""


def judge_domains(
    learner: Learner, rows: EncodedRows, model: Any, again: Again, notify: Notify
) -> Domains | None:
    """Put an adapted model beside the source alone, and beside the target's labels.

    None where nothing was adapted to a target.

    Labels of the target are read here first: of the rows that took part they train the ceiling, of
    those held out they judge.
    """
    if learner.config.target is None:
        return None
    data, task = rows.data, learner.task
    known = is_known(data.splits[TARGET].targets)
    learned, held = target_halves(data, learner.config.seed)
    judged = [row for row in held if known[row]]
    reported = data.judging[-1]

    def judge(trained: Any, split: str, chosen: Sequence[int]) -> Evaluation:
        logits = logits_of(rows, trained, split, "float32", chosen)
        targets = data.splits[split].targets[list(chosen)]
        noun = f"{task.noun} of the target" if split == TARGET else task.noun
        return judge_as_is(data, targets, logits, noun)

    source, target, distances = {}, {}, {}
    notify("training on the source alone, to compare with")
    models = {ADAPTED: (learner, model), SOURCE_ONLY: again(rows, SOURCE_ONLY)}
    for name, (other, trained) in models.items():
        distances[name] = _distance(other, rows, trained, held)
        source[name] = judge(trained, reported, range(len(data.splits[reported])))
        if judged:
            target[name] = judge(trained, TARGET, judged)
    ceiling = labelled_target(rows, [r for r in learned if known[r]], learner.config.seed)
    if judged and ceiling is not None:
        notify("training on the labels of the target, for what could be reached")
        _, trained = again(ceiling, CEILING)
        target[CEILING] = judge(trained, TARGET, judged)
    return Domains(
        learned=len(learned),
        held_out=len(held),
        noun=task.noun.removesuffix("s"),
        source=source,
        target=target,
        distances=distances,
    )


def _distance(learner: Learner, rows: EncodedRows, model: Any, held: Sequence[int]) -> float | None:
    """How well domains are told by what the output layer reads of rows that nothing trained on."""
    others = [number for split in rows.data.judging for number in rows.places[split]]
    count = min(len(others), len(held), _TOLD_ROWS)
    if count < 2 * _FOLDS:
        return None
    random = np.random.default_rng(learner.config.seed)
    places = [others[row] for row in random.permutation(len(others))[:count]]
    places += rows.numbers(TARGET, random.permutation(held)[:count].tolist())
    chosen = rows.rearranged(rows.data, {"told": places})
    reader = FeatureReader(model, classifier=learner.classifier_in(model))
    precision = learner.config.mixed_precision
    features = logits_of(chosen, reader, "told", precision, range(2 * count))
    return proxy_distance(features, np.repeat([False, True], count))


def proxy_distance(features: FloatArray, is_target: NDArray[np.bool_]) -> float:
    """2 (1 - 2 ε), ε the error of a linear classifier of domains on rows it was not fitted on.

    Source: Ben-David et al. 2007; Ganin et al. 2016, section 3.1 (arXiv:1505.07818).

    Args:
        features: Shape (N, D), as many of one domain as of the other.
        is_target: Shape (N,).

    Returns:
        From 0, where it does no better than chance, to 2.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    right = cross_val_score(classifier, features, is_target, cv=_FOLDS).mean()
    return float(max(0.0, 2 * (2 * right - 1)))
