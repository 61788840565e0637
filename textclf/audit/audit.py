"""Look a data set over before it costs a night of training."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from footwork.errors import ConfigError, HubUnreachable
from footwork.evaluation.text import WIDTH, Shown, aligned, display_width, duration, shorten
from footwork.files.faults import counted, shortened
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.validation import settled_by_validation
from footwork.inference.tokens import room_for_texts
from footwork.methods.rates import recipe_for
from footwork.tables.labels import REGRESSION
from footwork.tables.splits import with_splits
from textclf.audit import findings
from textclf.audit.cost import Cost, ModelSize, estimate_cost
from textclf.audit.findings import Finding, class_counts
from textclf.audit.model import open_model
from textclf.audit.tokens import TokenCounts, Vocabulary, count_tokens, token_findings
from textclf.config import DEFAULT_MODEL, TrainConfig
from textclf.data import Examples, TextData, load_data

_SHOWN_ROWS, _SHOWN_CLASSES = 10, 30
_LABEL_WIDTH, _MARGIN = 40, 11


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split in numbers."""

    rows: int
    counts: Mapping[str, int]
    """Rows of each class; empty for regression."""
    median_tokens: int | None = None
    """None, as all of these, for a model that knows no tokens."""
    longest_tokens: int | None = None
    tokens: int | None = None
    lost_tokens: int | None = None
    """Beyond `max_length`."""
    amounts: tuple[float, float, float] | None = None
    """Least, mean and greatest, for regression."""


@dataclass(frozen=True, slots=True, repr=False)
class Audit(Shown):
    """What was found in a data set."""

    task: str
    labels: tuple[str, ...]
    max_length: int | None
    """Longest input, in tokens; None for a model that knows none."""
    splits: Mapping[str, SplitSummary]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """How the data set was read."""
    cost: Cost | None

    @property
    def usable(self) -> bool:
        """Whether training can work at all."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def summary(self) -> str:
        """What there is to learn from, and whether it can be."""
        rows = ", ".join(f"{name} {split.rows:,}" for name, split in self.splits.items())
        task = self.task.replace("_", " ")
        labels = f", {counted(len(self.labels), 'label')}" if self.labels else ""
        return f"{task}{labels}; rows: {rows}; {'' if self.usable else 'not '}usable"

    def to_text(self) -> str:
        """A report of at most 100 columns, with the first rows of each finding."""
        task, count = self.task.replace("_", " "), len(self.labels)
        lines = [
            f"{task}, {counted(count, 'label')}" if count else task,
            "",
            *_indented(_split_rows(self)),
            *_class_lines(self),
            "",
            *_finding_lines(self.findings),
            *(_cost_lines(self.cost) if self.cost else ()),
            "",
            "How it was read",
            *(line for note in self.notes for line in _wrapped(note, "  ")),
            "",
            "Usable: yes." if self.usable else "Usable: no. Mend the errors first.",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return {"usable": self.usable, **asdict(self)}


def audit_table(
    data: Any, config: TrainConfig | None = None, *, validation: Any = None, test: Any = None
) -> Audit:
    """Look a table over without training, every bad row at once; data is what `train` takes.

    Where the default model cannot be reached, the tokens are those of `tiny`, and a note says so.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The table cannot be read at all.
        ModelError: The model that was named cannot be loaded.
    """
    config = TrainConfig.given("config", config)
    config = _of_adapter(config)
    labelled = load_data(with_splits(data, validation, test), replace(config, keep_going=True))
    _require_learnable(labelled, config)
    if not config.method_row.has_model:
        config.settled(labelled.task, None, "", {})
        return audit_data(labelled)
    said: tuple[str, ...] = ()
    try:
        model, precision = open_model(config)
    except HubUnreachable as error:
        if config.model_id != DEFAULT_MODEL:
            raise
        said = (f"Tokens, time and memory are those of `tiny`. {error}",)
        model, precision = open_model(replace(config, model_id="tiny", revision=None))
    size = model.size.encoder_parameters
    contrasts = labelled.contrasts and model.solvable and model.classes != set(labelled.labels)
    config, why = config.chosen(len(labelled.train), size, contrasts=contrasts)
    rates = config.method_row.rates.get("text")
    rows, length = config.method_row.epoch(len(labelled.train), "row")
    given = config.learning_rate
    recipe = None if rates is None else recipe_for(rates, size, rows, config.batch_size, rate=given)
    room_for_texts(model.vocabulary.tokenizer, config.max_length)
    own, cut = config.within(model.size.positions)
    own |= {"mixed_precision": precision} | settled_by_validation(labelled, config)
    settled, _, how = config.settled(labelled.task, recipe, length, own)
    labelled = replace(labelled, notes=(*labelled.notes, *said, *why, str(how), *cut))
    return audit_data(labelled, model.vocabulary, settled.max_length, (model.size, settled))


def _of_adapter(config: TrainConfig) -> TrainConfig:
    """With the method of the adapter that is to go on, if one is."""
    if not config.continue_adapter:
        return config
    from footwork.finetuning.plan import continued
    from footwork.models.hub import TEXT_PRESETS

    return continued(config, TEXT_PRESETS)


def _require_learnable(labelled: TextData, config: TrainConfig) -> None:
    """Refuse a task that the method cannot learn, and a target that cannot be read."""
    config.require_task(labelled.task)
    if config.target is not None:
        from textclf.target import with_target

        with_target(labelled, config.target, config)


def audit_data(
    data: TextData,
    vocabulary: Vocabulary | None = None,
    max_length: int | None = None,
    run: tuple[ModelSize, FinetuningConfig] | None = None,
) -> Audit:
    """Count, compare and tokenize every text of a data set.

    Args:
        data: As `load_data` gives it.
        vocabulary: The model's; None for one that knows no tokens.
        max_length: Longest input, in tokens, where there are any.
        run: The model and its settings, settled, to estimate time and memory of; None for none.
    """
    splits, tokens, longest = data.splits, dict[str, TokenCounts](), max_length or 0
    if vocabulary is not None:
        if longest < 1:
            raise ConfigError(f"`max_length` must be at least 1, got {max_length}.")
        tokens = {name: count_tokens(split, vocabulary) for name, split in splits.items()}
    found = (
        *findings.bad_row_findings(data),
        *findings.size_findings(data),
        *findings.class_findings(data),
        *findings.label_findings(data),
        *findings.text_findings(data),
        *token_findings(data, tokens, longest),
    )
    kept = (np.minimum(tokens[name].lengths, longest) for name in ("train", "validation"))
    proven = sum(counts.proven for counts in tokens.values())
    said = f"Texts have the tokens of their words, as {proven:,} that were counted whole have."
    return Audit(
        task=data.task,
        labels=data.labels,
        max_length=max_length,
        splits={name: _summary(data, name, tokens.get(name), longest) for name in splits},
        findings=found,
        notes=(*data.notes, said) if proven else data.notes,
        cost=estimate_cost(*run, *kept) if run else None,
    )


def _summary(
    data: TextData, name: str, tokens: TokenCounts | None, max_length: int
) -> SplitSummary:
    split: Examples = data.splits[name]
    summary = SplitSummary(rows=len(split), counts={})
    if data.task != REGRESSION:
        summary = replace(summary, counts=class_counts(data, name))
    elif len(split):
        values = split.targets.astype(float)
        amounts = float(values.min()), float(values.mean()), float(values.max())
        summary = replace(summary, amounts=amounts)
    if tokens is None:
        return summary
    return replace(
        summary,
        median_tokens=int(np.median(tokens.lengths)) if len(tokens.lengths) else 0,
        longest_tokens=int(tokens.lengths.max(initial=0)),
        tokens=int(tokens.lengths.sum()),
        lost_tokens=int(tokens.lost(max_length).sum()),
    )


def _split_rows(audit: Audit) -> list[list[str]]:
    splits = audit.splits.values()
    rows = [["", *audit.splits], ["rows", *(f"{one.rows:,}" for one in splits)]]
    tokens = {"median_tokens": "tokens, median", "longest_tokens": "tokens, longest"}
    tokens |= {"lost_tokens": f"tokens beyond {audit.max_length}"}
    for name, called in tokens.items() if audit.max_length else ():
        rows.append([called, *(f"{getattr(one, name):,}" for one in splits)])
    amounts = [one.amounts for one in splits if one.amounts]
    if len(amounts) == len(splits):
        for i, name in enumerate(("least", "mean", "greatest")):
            rows.append([name, *(f"{one[i]:.4g}" for one in amounts)])
    return rows


def _class_lines(audit: Audit) -> Iterator[str]:
    if not audit.labels:
        return
    train = audit.splits["train"]
    ordered = sorted(audit.labels, key=lambda label: -train.counts[label])
    rows = [["label", "share of train", *audit.splits]]
    for label in ordered[:_SHOWN_CLASSES]:
        share = train.counts[label] / max(train.rows, 1)
        counts = [f"{one.counts[label]:,}" for one in audit.splits.values()]
        rows.append([shorten(label, _LABEL_WIDTH), f"{share:.1%}", *counts])
    yield ""
    yield from _indented(rows)
    if len(ordered) > _SHOWN_CLASSES:
        more = len(ordered) - _SHOWN_CLASSES
        yield f"and {counted(more, 'smaller class', 'smaller classes')}"


def _finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield "Findings" if findings else "Nothing was found wrong."
    order = {"error": 0, "warning": 1, "note": 2}
    for finding in sorted(findings, key=lambda one: order[one.severity]):
        yield from _wrapped(finding.message, f"  {finding.severity:<{_MARGIN - 2}}")
        for place, rows in finding.rows.items():
            shown = shortened(map(str, rows), _SHOWN_ROWS)
            yield from _wrapped(f"{place}, rows: {shown}", " " * _MARGIN)


def _cost_lines(cost: Cost) -> list[str]:
    return [
        "",
        "Estimates: expect two thirds, or half as much again",
        f"  training         about {duration(60 * cost.minutes)}, on a machine as busy as now",
        f"  memory           about {cost.memory_bytes / 2**30:.2g} GiB at the peak",
        f"  device           {cost.device}, {cost.device_flops / 1e9:,.0f} GFLOP/s",
        f"  tokens an epoch  {cost.tokens:,}",
    ]


def _indented(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in aligned(rows)]


def _wrapped(text: str, first: str) -> list[str]:
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    wrapper = textwrap.TextWrapper(WIDTH, first, " " * len(first))
    # East Asian letters are two columns wide.
    if display_width(printable) > len(printable):
        wrapper.width = len(first) + (WIDTH - len(first)) // 2
    return wrapper.wrap(printable) or [first]
