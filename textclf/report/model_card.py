"""The README.md of a trained classifier, as the Hub reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footwork.evaluation.metrics import Interval
from footwork.evaluation.result import Evaluation
from footwork.evaluation.text import (
    ALL_CLASSES,
    WORST,
    calibration_lines,
    confused_pairs,
    number,
    worst_classes,
)
from footwork.files.faults import shortened
from footwork.finetuning.card import (
    PLACE,
    adapter_usage,
    needs_base,
    public_data_name,
    public_model_id,
    public_text,
)
from footwork.methods.table import METHODS
from footwork.options import LOWER_IS_BETTER
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    from textclf.report.report import Report


def caveat(split: str) -> str | None:
    """Say what weakens the figures of a split: without a test split they flatter.

    Args:
        split: That is reported, `test` or `validation`.
    """
    if split == "test":
        return None
    return (
        "**These figures are optimistic**: there was no test split, and the same validation "
        "rows chose the checkpoint and the temperature."
    )


def verdict(evaluation: Evaluation, linear: Evaluation | None) -> str:
    """Compare a model with the linear baseline on the same rows.

    Two intervals that overlap do not prove a difference; that they were resampled apart makes
    this the careful side, because the rows are the same.

    Args:
        evaluation: Of the model.
        linear: Of the baseline; None where there is none.
    """
    name = evaluation.primary_metric
    model = evaluation.metrics.get(name)
    baseline = linear.metrics.get(name) if linear else None
    if model is None or baseline is None:
        return f"It cannot be compared with the linear baseline: {name} is not defined for both."
    figures = f"`{name}` {number(model.value)} against {number(baseline.value)}"
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    gain = sign * (model.value - baseline.value)
    if gain > 0 and not model.overlaps(baseline):
        return f"It beats the linear baseline: {figures}, and the intervals do not overlap."
    if gain > 0:
        return (
            f"**It does not clearly beat the linear baseline**: {figures}, and the intervals "
            "overlap. On rows like these the linear model may do as well at a small part of the "
            "cost."
        )
    return (
        f"**It does not beat the linear baseline**: {figures}. As it stands the linear model is "
        "the better choice; more rows, another method or another base model may change that."
    )


_HUB_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_f1": ("f1", "Macro F1"),
    "micro_f1": ("f1", "Micro F1"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "log_loss": ("log_loss", "Log loss"),
    "mean_average_precision": ("mean_average_precision", "Mean average precision"),
    "mae": ("mae", "Mean absolute error"),
    "rmse": ("rmse", "Root mean squared error"),
    "r2": ("r_squared", "R squared"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
}
"""Our names to the Hub's metric type and a name to show."""


def front_matter(report: Report) -> str:
    """Write the YAML block that opens the card, the measured figures in its model-index."""
    from huggingface_hub import EvalResult, ModelCardData

    name = public_data_name(report.data)
    types = [_HUB_METRICS[metric][0] for metric in report.evaluation.metrics]
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=re.sub(r"[^\w./-]+", "-", name).strip("-") or "table",
            dataset_name=name,
            dataset_split=split,
            metric_type=_HUB_METRICS[metric][0],
            metric_name=_HUB_METRICS[metric][1],
            metric_value=round(value, 6),
        )
        for split, evaluation in report.evaluations.items()
        for metric, value in _values(evaluation).items()
    ]
    base = public_model_id(report.model_id)
    adapter = report.adapter_kind
    relation = "adapter" if adapter else "finetune"
    based: dict[str, Any] = {"base_model": base, "base_model_relation": relation} if base else {}
    data = ModelCardData(
        library_name=adapter.library if adapter else "transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "footwork", report.method],
        metrics=list(dict.fromkeys(types)),
        model_name=report.title,
        eval_results=results or None,
        **based,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _values(evaluation: Evaluation) -> dict[str, float]:
    return {name: interval.value for name, interval in evaluation.metrics.items()}


_LISTED_LABELS = 30

_TASK_WORDS = {
    SINGLE_LABEL: "It gives a text one of {count} classes",
    MULTI_LABEL: "It gives a text any of {count} labels, or none",
    REGRESSION: "It gives a text a number",
}
_PLAIN = "fine-tuned from"
_PLAIN_INSTEAD = (
    "For a folder that needs nothing else, and that it does load: "
    f"`footwork textclf merge {PLACE} merged/`."
)
_DIVIDES = "Footwork divides logits by the temperature before they become probabilities"
_DIVIDED = "The weights of the head are divided by the temperature, so its logits need no other"
_BASELINE_WORDS = {"majority": "commonest answer", "linear": "TF-IDF + linear model"}


def model_card(report: Report, pictures: Sequence[str] = ()) -> str:
    """Write the card: front matter for the Hub, then what a user of the model asks, in that order.

    Args:
        report: What to tell.
        pictures: Paths of the PNG files that exist, from the card.
    """
    sections = (
        f"# {_plain(report.title)}",
        _about(report),
        _usage(report),
        _data(report),
        _results(report, pictures),
        _calibration(report, pictures),
        _limits(report),
        _training(report, pictures),
    )
    return front_matter(report) + "\n" + "\n\n".join(sections) + "\n"


def _about(report: Report) -> str:
    pair = "pair of texts" if len(report.data.get("text_columns", ())) == 2 else "text"
    words = _TASK_WORDS[report.task].format(count=len(report.labels)).replace("text", pair)
    shown = shortened((f"`{_code(label)}`" for label in report.labels), _LISTED_LABELS)
    listed = f": {shown}." if shown else "."
    kind = report.adapter_kind.called if report.adapter_kind else _PLAIN
    head = f" {_plain(report.head)}" if report.head else ""
    return (
        f"{words}{listed}\n\n"
        f"This is {kind} {_base(report)} (method `{report.method}`), made with Footwork.{head}"
    )


def _usage(report: Report) -> str:
    pairs = len(report.data.get("text_columns", ())) == 2
    call = 'predict(["one text"], ["its pair"])' if pairs else 'predict(["one text", "another"])'
    parts = [
        "## Use",
        f"```bash\nfootwork textclf predict {PLACE} texts.csv -o answers.csv\n```",
        "```python\nfrom textclf import TextClassifier\n\n"
        f'classifier = TextClassifier.load("{PLACE}")\n'
        f"for prediction in classifier.{call}:\n"
        "    print(prediction.label, prediction.probability)\n```",
    ]
    asked = _asked(pairs, report.config.get("max_length", 256))
    if adapter := report.adapter_kind:
        parts.append(needs_base(adapter, _PLAIN_INSTEAD))
        usage = adapter_usage(
            "text-classification", report.model_id, report.revision, asked, adapter
        )
        return "\n\n".join([*parts, *([usage] if usage else [])])
    return "\n\n".join([*parts, _pipeline_usage(asked)])


def _asked(pairs: bool, max_length: int) -> str:
    """A question to a pipeline, as Python."""
    text = '{"text": "one text", "text_pair": "its pair"}' if pairs else '"one text"'
    return f"{text}, top_k=None, truncation=True, max_length={max_length}"


def _pipeline_usage(asked: str) -> str:
    return (
        "With transformers alone (whose scores are not calibrated):\n\n"
        "```python\nfrom transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", model="{PLACE}")\n'
        f"print(classify({asked}))\n```"
    )


def merged_card(card: str, manifest: Mapping[str, Any], repository: str | None = None) -> str:
    """Make the card of an adapter that of the plain folder it was merged into.

    Args:
        card: As `model_card` wrote it; what a user has changed in it stays.
        manifest: `footwork.json` of the folder.
        repository: Where the adapter came from, if that was the Hub: the card calls it so.
    """
    if repository is not None:
        for mark in ('"', " "):
            card = card.replace(f"{mark}{repository}{mark}", f"{mark}{PLACE}{mark}")
    pairs = len((manifest.get("data") or {}).get("text_columns") or ()) == 2
    usage = _pipeline_usage(_asked(pairs, manifest.get("max_length", 256)))
    needs_base = re.compile(r"The folder is an adapter: .*?(?=\n\n## |\Z)", re.DOTALL)
    card = needs_base.sub(lambda _: usage, card, count=1)
    changes = {
        "\nbase_model_relation: adapter\n": "\nbase_model_relation: finetune\n",
    }
    for adapter in [method.adapter for method in METHODS.values() if method.adapter]:
        changes[f"\nlibrary_name: {adapter.library}\n"] = "\nlibrary_name: transformers\n"
        changes[f"\nThis is {adapter.called} "] = f"\nThis is {_PLAIN} "
    if "temperature_in_weights" in (manifest.get("calibration") or {}):
        changes[_DIVIDES] = _DIVIDED
    for former, plain in changes.items():
        card = card.replace(former, plain, 1)
    return card


def _data(report: Report) -> str:
    facts = report.data
    rows = facts.get("rows", {})
    counts = ", ".join(f"{name} {count:,}" for name, count in rows.items() if count)
    lines = [
        f"- Source: `{_code(public_data_name(facts))}`",
        f"- Rows: {counts}",
        f"- Columns: {_columns(facts)}",
    ]
    if facts.get("validation_held_out"):
        lines.append("- The validation rows were held out of the training file.")
    if facts.get("sha256"):
        lines.append(f"- SHA-256 of the files: `{facts['sha256']}`")
    lines += [f"- {_plain(public_text(note, facts))}" for note in report.notes]
    return "## Data\n\n" + "\n".join(lines)


def _columns(facts: Mapping[str, Any]) -> str:
    texts = " and ".join(f"`{_code(name)}`" for name in facts.get("text_columns", ()))
    return f"{texts or 'text'}, label `{_code(str(facts.get('label_column', 'label')))}`"


def _results(report: Report, pictures: Sequence[str]) -> str:
    evaluation = report.evaluation
    models = {"this model": evaluation}
    models |= {_BASELINE_WORDS.get(n, n): each for n, each in reversed([*report.baselines.items()])}
    table = [["metric", *models]]
    for name in evaluation.metrics:
        table.append([f"`{name}`", *(_figure(each.metrics.get(name)) for each in models.values())])
    parts = [
        "## Results",
        f"On {evaluation.rows:,} {report.split} rows; in brackets the 95 % bootstrap interval."
        + (
            " `log_loss` is of the probabilities before the temperature, of all models."
            if "log_loss" in evaluation.metrics
            else ""
        ),
        _table(table),
        verdict(evaluation, report.baselines.get("linear")),
    ]
    if weakness := caveat(report.split):
        parts.append(
            f"{weakness} Measure on rows that the training never saw: "
            f"`footwork textclf evaluate {PLACE} test.csv`."
        )
    linear_notes = report.baselines["linear"].notes if "linear" in report.baselines else ()
    parts += [_plain(note) for note in dict.fromkeys((*evaluation.notes, *linear_notes))]
    parts += _classes(evaluation)
    parts += _picture(pictures, "report/confusion.png", "Confusion matrix")
    return "\n\n".join(parts)


def _classes(evaluation: Evaluation) -> list[str]:
    scores = evaluation.per_class
    if not scores:
        return []
    few = len(scores) <= ALL_CLASSES
    table = [["class", "precision", "recall", "F1", "rows"]]
    for score in scores if few else worst_classes(scores, WORST):
        figures = [number(value) for value in (score.precision, score.recall, score.f1)]
        table.append([_plain(score.label), *figures, f"{score.support:,}"])
    parts = [] if few else [f"The {WORST} classes of lowest F1, of {len(scores)}:"]
    parts.append(_table(table))
    if not few and evaluation.confusion is not None:
        rows = [
            [_plain(true), _plain(predicted), str(count)]
            for true, predicted, count in confused_pairs(
                evaluation.labels, evaluation.confusion, WORST
            )
        ]
        if rows:
            parts += ["The most confused pairs:", _table([["true", "predicted", "rows"], *rows])]
    return parts


def _calibration(report: Report, pictures: Sequence[str]) -> str:
    calibration = report.evaluation.calibration
    if calibration is None:
        return "## Calibration\n\nA regression has no probabilities to calibrate."
    lines = "\n".join(f"- {line[0].upper()}{line[1:]}." for line in calibration_lines(calibration))
    chosen = (
        "the error after it is measured on rows that its temperature was not fitted on"
        if calibration.fitted
        else "it and the threshold were chosen on the validation rows"
    )
    text = f"Measured on the {report.split} rows. {_DIVIDES}; {chosen}."
    none = (
        "No probability was found above which 95 % of the answers are surely right, so the model "
        "never abstains."
    )
    silent = report.task == SINGLE_LABEL and calibration.abstain_below is None
    parts = ["## Calibration", text, lines, *([none] if silent else [])]
    return "\n\n".join(parts + _picture(pictures, "report/reliability.png", "Reliability"))


def _limits(report: Report) -> str:
    lines = [
        f"- Texts are cut at {report.config.get('max_length', 256)} tokens; `footwork textclf "
        "predict --long windows` reads longer ones piece by piece.",
        "- It knows the language and the kind of text of its training rows. What it does on "
        "others was not measured.",
        f"- The licence and the limits of {_base(report)} and of the training data hold for it.",
    ]
    if report.task == SINGLE_LABEL:
        lines.insert(0, "- It always names one of its classes, also for a text that fits none.")
    return "## Limits\n\n" + "\n".join(lines)


def _training(report: Report, pictures: Sequence[str]) -> str:
    settings = {name: value for name, value in report.config.items() if _is_telling(value)}
    rows = [[f"`{name}`", f"`{_cell(value)}`"] for name, value in settings.items()]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts = ["## Training", *_picture(pictures, "report/curves.png", "Training curves")]
    parts.append(_table([["setting", "value"], *rows]))
    return "\n\n".join([*parts, f"Versions: {versions}."])


def _is_telling(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (isinstance(value, tuple) and value != ())


def _cell(value: Any) -> str:
    """Write a value for a table; of a local path only the name, because a card is public."""
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return _code(Path(text).name if Path(text).is_absolute() else text).replace("|", "\\|")


def _figure(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{number(interval.value)} ({number(interval.low)} to {number(interval.high)})"


def _base(report: Report) -> str:
    model_id = public_model_id(report.model_id)
    if model_id is None:
        return f"`{_code(Path(report.model_id).name)}`"
    revision = f" at `{report.revision[:12]}`" if report.revision else ""
    return f"[{model_id}](https://huggingface.co/{model_id}){revision}"


def _picture(pictures: Sequence[str], path: str, title: str) -> list[str]:
    return [f"![{title}]({path})"] if path in pictures else []


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|---|" + "---:|" * (len(rows[0]) - 1)
    return "\n".join((head, rule, *body))


def _plain(text: str) -> str:
    """Put a text on one line of Markdown, its marks taken literally; `snake_case` has none."""
    return re.sub(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Make a text fit to stand between backticks."""
    return " ".join(text.split()).replace("`", "'")
