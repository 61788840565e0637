"""The README.md of a published model, as the Hub reads it; no path of this machine stands in it.

Its words are in `card.md` and `usage.md`; here is what they are filled with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footwork.evaluation.metrics import Interval
from footwork.evaluation.result import Evaluation, worst_classes
from footwork.evaluation.splits import FEW_ROWS
from footwork.evaluation.text import (
    ALL_CLASSES,
    WORST,
    calibration_lines,
    confused_pairs,
    duration,
    ends,
    number,
)
from footwork.files.faults import counted, shortened
from footwork.files.paths import user_path
from footwork.methods.table import METHODS, OF_PEFT, Adapter, method_of, methods_where
from footwork.options import LOWER_IS_BETTER
from footwork.pages.templates import load_template
from footwork.tables.labels import MULTI_LABEL, SINGLE_LABEL

if TYPE_CHECKING:
    from footwork.finetuning.report import Report
    from footwork.finetuning.task import Task

PLACE = "path/to/this/folder"
"""What a card calls its folder; an upload puts the repository in its place."""
_LISTED_LABELS = 30
_GIVES = {SINGLE_LABEL: "one of {} classes", MULTI_LABEL: "any of {} labels, or none"}
_DIVIDES = "Footwork divides logits by the temperature before they become probabilities"
_DIVIDED = "The weights of the head are divided by the temperature, so its logits need no other"
_PLAIN = "fine-tuned from"
_FRESH = "trained from random weights, in the architecture of"
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


def model_card(report: Report, pictures: Sequence[str] = ()) -> str:
    """Write the card: front matter for the Hub, then what a user of the model asks, in that order.

    Args:
        report: What to tell.
        pictures: Paths of the PNG files that exist, from the card.
    """
    manifest, evaluation, task = report.manifest, report.evaluation, report.task
    facts, calibration, adapter = manifest["data"], evaluation.calibration, _adapter(manifest)
    words, method = task.words(manifest), method_of(manifest["method"])
    labels = shortened((f"`{as_code(label)}`" for label in manifest["labels"]), _LISTED_LABELS)
    gives = _GIVES.get(manifest["task"], "a number").format(len(manifest["labels"]))
    remarks = [note for baseline in report.baselines.values() for note in baseline.remarks]
    many = len(evaluation.per_class) > ALL_CLASSES
    domains = report.domains.table() if report.domains else []
    head, *rows = beside(task, evaluation, report.baselines)
    card = load_template("footwork/finetuning/card.md").render(
        front_matter=_front_matter(report),
        title=_plain(report.title),
        gives=gives + (f": {labels}" if labels else ""),
        kind=words.made or (adapter.called if adapter else _PLAIN if method.pretrained else _FRESH),
        base=_base(manifest["model"]),
        method=manifest["method"],
        head=_plain(manifest["head"]["note"] or ""),
        words=words,
        use=_use(task, manifest, adapter),
        source=as_code(public_data_name(facts)),
        counts=", ".join(f"{name} {count:,}" for name, count in facts["rows"].items() if count),
        facts=facts,
        noun=task.noun,
        data_notes=[_plain(public_text(note, facts)) for note in report.notes],
        split=report.split,
        evaluation=evaluation,
        results=_table(head, [[f"`{name}`", *figures] for name, *figures in rows]),
        verdicts=[
            *verdicts(task, manifest["method"], evaluation, report.baselines),
            *unproven(manifest),
        ],
        caveat=caveat(report.split, manifest, evaluation),
        few=facts["rows"]["validation"] < FEW_ROWS,
        figure_notes=[_plain(note) for note in dict.fromkeys((*evaluation.notes, *remarks))],
        classes=_classes(evaluation),
        class_count=len(evaluation.per_class),
        domains=report.domains,
        domain_table=_table(domains[0], domains[1:]) if domains else "",
        worst=WORST if many else 0,
        confused=_confused(evaluation) if many else "",
        pictures=pictures,
        calibration=calibration,
        divides=_DIVIDES,
        calibration_lines=calibration_lines(calibration, task.noun) if calibration else [],
        never_abstains=manifest["task"] == SINGLE_LABEL
        and calibration is not None
        and calibration.abstain_below is None,
        cost=cost_line(manifest["cost"]),
        settings=_settings(manifest["config"], manifest["config_sources"]),
        versions=", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
    )
    return re.sub(r"\n{3,}", "\n\n", card)  # what is left out leaves its blank lines


def cost_line(cost: Mapping[str, Any]) -> str:
    """Say what a training took, in one sentence: `cost` of the manifest."""
    where = cost["device"]
    if cost["threads"]:
        where = f"{counted(cost['threads'], 'thread')} of the CPU"
    since = ", since the run went on," if cost["resumed"] else ""
    return (
        f"{cost['trainable_parameters']:,} of {cost['parameters']:,} parameters were trained, in "
        f"{duration(cost['seconds'])}{since} on {where}; "
        f"{cost['peak_memory_bytes'] / 2**30:.2g} GiB of memory at the peak."
    )


def caveat(split: str, manifest: Mapping[str, Any], evaluation: Evaluation) -> str | None:
    """Say what weakens the reported figures: those of rows that chose a checkpoint flatter."""
    method = method_of(manifest["method"])
    steps = method.has_model and not method.features_once and not manifest["config"].get("target")
    if split == "test" or not steps or evaluation.rows < FEW_ROWS:
        return None
    temperature = " and the temperature" if evaluation.calibration else ""
    return (
        "**These figures are optimistic**: there was no test split, and the same validation "
        f"rows chose the checkpoint{temperature}."
    )


def verdicts(
    task: Task, method: str, evaluation: Evaluation, baselines: Mapping[str, Evaluation]
) -> list[str]:
    """Compare a model with the baselines of `Task.rivals`, a string each.

    One baseline costs as much as the model itself: there it is said how to have it.
    """
    said = []
    for name, called in task.rivals.items():
        command = task.suffices.get(name, "")
        itself = command.endswith(f" {method}")
        if name in baselines and not itself:
            said.append(verdict(evaluation, baselines[name], called, command))
    if method_of(method).has_model and method_of(method).pretrained:
        fresh = methods_where(lambda method: not method.pretrained)
        said.append(
            f"What the pretraining is worth, the same command with `--method {fresh}` shows: the "
            "same architecture on the same rows, from random weights."
        )
    return said


def unproven(manifest: Mapping[str, Any]) -> list[str]:
    """Say what was skipped at the end of a run, and how to have it, a sentence each."""
    skipped = manifest["config"].get("skip") or ()
    said = {
        "baselines": "**It was compared with no baseline** (`--skip baselines`).",
        "proof": "**That this folder answers as the trained model was not proven** (`--skip "
        "proof`), nor what bf16 changes: it answers in float32.",
    }
    return [sentence for name, sentence in said.items() if name in skipped]


def verdict(evaluation: Evaluation, baseline: Evaluation, called: str, command: str = "") -> str:
    """Compare a model with a baseline, `called` so in a sentence, on the same rows.

    Where the model is not surely better, `command` is named, which trains what the baseline is.

    Two intervals that overlap do not prove a difference; that they were resampled apart makes
    this the careful side, because the rows are the same.
    """
    name = evaluation.primary_metric
    own, other = evaluation.metrics.get(name), baseline.metrics.get(name)
    if own is None or other is None:
        return f"It cannot be compared with {called}: {name} is not defined for both."
    figures = f"`{name}` {number(own.value)} against {number(other.value)}"
    gain = other.value - own.value if name in LOWER_IS_BETTER else own.value - other.value
    if gain > 0 and not own.overlaps(other):
        return f"It beats {called}: {figures}, and the intervals do not overlap."
    to_have = f" To have it: `{command}`" if command else ""
    if gain > 0:
        return (
            f"**It does not clearly beat {called}**: {figures}, and the intervals overlap. On "
            f"{evaluation.noun} like these {called} may do as well at a small part of the cost."
            f"{to_have}"
        )
    return (
        f"**It does not beat {called}**: {figures}. As it stands {called} is the better choice; "
        f"more {evaluation.noun}, another method or another base model may change that.{to_have}"
    )


def merged_card(
    task: Task, card: str, manifest: Mapping[str, Any], repository: str | None = None
) -> str:
    """Make the card of an adapter that of the plain folder it was merged into.

    Args:
        task: Of the folder.
        card: As `model_card` wrote it; what a user has changed in it stays.
        manifest: `footwork.json` of the folder.
        repository: Where the adapter came from, if that was the Hub: the card calls it so.
    """
    if repository is not None:
        for mark in ('"', " "):
            card = card.replace(f"{mark}{repository}{mark}", f"{mark}{PLACE}{mark}")
    usage, library = _use(task, manifest, None), task.words(manifest).library
    needs_base = re.compile(r"The folder is an adapter: .*?(?=\n\n## |\Z)", re.DOTALL)
    card = needs_base.sub(lambda _: usage, card, count=1)
    changes = {"\nbase_model_relation: adapter\n": "\nbase_model_relation: finetune\n"}
    methods = (*METHODS.values(), *OF_PEFT.values())
    for adapter in [method.adapter for method in methods if method.adapter]:
        changes[f"\nlibrary_name: {adapter.library}\n"] = f"\nlibrary_name: {library}\n"
        changes[f"\nThis is {adapter.called} "] = f"\nThis is {_PLAIN} "
    if "temperature_in_weights" in (manifest.get("calibration") or {}):
        changes[_DIVIDES] = _DIVIDED
    for former, plain in changes.items():
        card = card.replace(former, plain, 1)
    return card


def _adapter(manifest: Mapping[str, Any]) -> Adapter | None:
    """What adapter the folder holds, None for a whole model."""
    merged = manifest["config"].get("merge")
    return None if merged else method_of(manifest["method"]).adapter


def _use(task: Task, manifest: Mapping[str, Any], adapter: Adapter | None) -> str:
    """How the folder is loaded without Footwork; of an adapter, where its base is public.

    A plain `pipeline` loads no adapter: a configuration beside it makes transformers look for
    all weights there, and without one the head is built for the labels of the base.
    """
    model = manifest.get("model") or {}
    text = task.kind == "text"
    use = load_template("footwork/finetuning/usage.md").render(
        kind=task.kind,
        place=PLACE,
        words=task.words(manifest),
        adapter=adapter,
        scaled="temperature_in_weights" in (manifest.get("calibration") or {}),
        base=public_model_id(str(model.get("id", ""))),
        revision=f'"{model["revision"]}"' if model.get("revision") else "None",
        auto_class=f"AutoModelFor{'Sequence' if text else 'Image'}Classification",
        preparing="AutoTokenizer" if text else "AutoImageProcessor",
        part="tokenizer" if text else "image_processor",
    )
    return use.strip()


def _front_matter(report: Report) -> str:
    """The YAML block that opens the card, the measured figures in its model-index."""
    from huggingface_hub import EvalResult, ModelCardData

    manifest = report.manifest
    name, pipeline = public_data_name(manifest["data"]), f"{report.task.kind}-classification"
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=re.sub(r"[^\w./-]+", "-", name).strip("-") or "table",
            dataset_name=name,
            dataset_split=report.split,
            metric_type=_HUB_METRICS.get(metric, (metric, metric))[0],
            metric_name=_HUB_METRICS.get(metric, (metric, metric))[1],
            metric_value=round(interval.value, 6),
        )
        # Validation figures chose the checkpoint: beside those of a test they would mislead.
        for metric, interval in report.evaluation.metrics.items()
    ]
    model_id, adapter = manifest["model"]["id"], _adapter(manifest)
    library = report.task.words(manifest).library
    base = public_model_id(model_id) if model_id else None
    relation = "adapter" if adapter else "finetune"
    based: dict[str, Any] = {"base_model": base, "base_model_relation": relation}
    data = ModelCardData(
        library_name=adapter.library if adapter and library == "transformers" else library,
        pipeline_tag=pipeline,
        tags=[pipeline, "footwork", manifest["method"]],
        metrics=list(dict.fromkeys(each.metric_type for each in results)),
        model_name=report.title,
        eval_results=results or None,
        **(based if base and method_of(manifest["method"]).pretrained else {}),
    )
    return data.to_yaml()


def beside(
    task: Task, evaluation: Evaluation, baselines: Mapping[str, Evaluation]
) -> list[list[str]]:
    """The metrics of a model with those of its baselines, as a table, its head first."""

    def figure(interval: Interval | None) -> str:
        return f"{number(interval.value)} ({ends(interval)})" if interval else "-"

    models = {"this model": evaluation}
    for name, baseline in reversed([*baselines.items()]):
        models[task.baseline_words.get(name, name)] = baseline
    return [
        ["metric", *models],
        *(
            [name, *(figure(each.metrics.get(name)) for each in models.values())]
            for name in evaluation.metrics
        ),
    ]


def _classes(evaluation: Evaluation) -> str:
    scores: Sequence[Any] = evaluation.per_class
    if len(scores) > ALL_CLASSES:
        scores = worst_classes(scores, WORST)
    head, rows = ["class", "precision", "recall", "F1", evaluation.noun], []
    several = evaluation.task == MULTI_LABEL
    for score in scores:
        figures = map(number, (score.precision, score.recall, score.f1))
        bar = [number(score.threshold)] if several else []
        rows.append([_plain(score.label), *figures, f"{score.support:,}", *bar])
    return _table([*head, *(["threshold"] if several else [])], rows)


def _confused(evaluation: Evaluation) -> str:
    if evaluation.confusion is None:
        return ""
    pairs = confused_pairs(evaluation.labels, evaluation.confusion, WORST)
    rows = [[_plain(true), _plain(predicted), str(count)] for true, predicted, count in pairs]
    return _table(["true", "predicted", evaluation.noun], rows) if rows else ""


def _settings(config: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Those with a value; of a local path only the name, because a card is public."""
    rows = []
    for name, value in config.items():
        if isinstance(value, float):
            rows.append([f"`{name}`", f"`{value:g}`", sources.get(name, "default")])
        elif isinstance(value, bool | int | str) or (isinstance(value, tuple) and value):
            text = Path(str(value)).name if Path(str(value)).is_absolute() else str(value)
            shown = "`{}`".format(as_code(text).replace("|", "\\|"))
            rows.append([f"`{name}`", shown, sources.get(name, "default")])
    return _table(["setting", "value", "from"], rows)


def _base(model: Mapping[str, Any]) -> str:
    if model["id"] is None:
        return ""
    model_id = public_model_id(model["id"])
    if model_id is None:
        return f"`{as_code(Path(model['id']).name)}`"
    revision = f" at `{model['revision'][:12]}`" if model["revision"] else ""
    return f"[{model_id}](https://huggingface.co/{model_id}){revision}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first, *others = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join((first, "|---|" + "---:|" * (len(head) - 1), *others))


def _plain(text: str) -> str:
    """Put a text on one line of Markdown, its marks taken literally; `snake_case` has none."""
    return re.sub(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def as_code(text: str) -> str:
    """Make a text fit to stand between backticks."""
    return " ".join(text.split()).replace("`", "'")


# What may be published


def public_model_id(model_id: str) -> str | None:
    """Return a Hub id, or None for what only this machine has: a folder, a preset, `tiny`."""
    # Old ids have no owner: bert-base-uncased; presets are single words.
    hub_like = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*|\w+-[\w.-]+", model_id)
    return model_id if hub_like and not is_local(model_id) else None


def is_local(model_id: str) -> bool:
    """Whether a base, presets apart, is a folder of this machine or `tiny`."""
    folder = Path(model_id).exists() or model_id.startswith((".", "/", "~"))
    return folder or model_id == "tiny"


def public_data_name(facts: Mapping[str, Any]) -> str:
    """Return a Hub data set's id, or the bare name of a local file or folder: a card is public."""
    path = str(facts.get("path", "")) or "table"
    hub_like = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) and not Path(path).exists()
    return path if hub_like and not Path(path).suffix else Path(path).name or "table"


def public_text(text: str, facts: Mapping[str, Any]) -> str:
    """Take the folders of the local data, of which `facts` have the paths, out of a text."""
    names: dict[str, str] = {}
    for named in (facts.get("path", ""), *facts.get("files", ())):
        path = user_path(named)
        forms = (named, str(path), str(path.resolve())) if path.name else ()
        names |= dict.fromkeys(forms, public_data_name({"path": named}))
    # Longest first: a short form may be a part of the long one.
    for form in sorted(names, key=len, reverse=True):
        text = text.replace(form, names[form])
    return text


def public_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of `footwork.json` or `metrics.json` may be published: no path of this machine."""
    public = dict(document)
    facts = document.get("data") or {}
    if facts:
        named = {"files": _without_folders(facts["files"])} if "files" in facts else {}
        public["data"] = {**facts, **named, "path": public_data_name(facts)}
    if model := document.get("model"):
        public["model"] = {**model, "id": _without_folders(model["id"])}
    if config := document.get("config"):
        public["config"] = _without_folders(config)
    if "notes" in document:
        public["notes"] = [public_text(note, facts) for note in document["notes"]]
    return public


def _without_folders(value: Any) -> Any:
    """Of a path from the root or the home its last part, of a document that of each."""
    if isinstance(value, Mapping):
        return {name: _without_folders(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    rooted = isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute())
    return Path(value).name or value if rooted else value
