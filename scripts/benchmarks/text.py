"""The benchmarks of text classification."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from footwork.accelerator import compute_device, has_bf16
from footwork.evaluation.splits import StratifiedGroups
from footwork.files.folders import MANIFEST, write_json
from footwork.inference.rounding import FEWEST, measured_error
from footwork.inference.sequences import InferenceConfig, SequenceModel
from footwork.inference.tokens import tokenize
from footwork.methods.head import solve
from footwork.models.checkpoints import load_classifier, load_tokenizer
from footwork.models.pooling import FeatureReader
from footwork.training.job import row_loss
from scripts.benchmarks.suite import (
    Benchmark,
    Contest,
    Peer,
    Setting,
    footwork_command,
    process_seconds,
    seconds,
)
from scripts.benchmarks.text_material import (
    MINIATURE,
    NARROW,
    SMALL,
    mixed_texts,
    save_classifier,
    write_table,
)
from scripts.benchmarks.training import (
    BEST,
    DYNAMIC,
    MEBI,
    PADDED,
    Course,
    Run,
    train_with_footwork,
    train_with_trainer,
)
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.config import TrainConfig
from textclf.data import load_data, text_groups

ANSWERED_AT_ONCE = 32


def measure_help(setting: Setting) -> Iterator[Contest]:
    """What `footwork --help` costs beside an interpreter that does nothing."""
    del setting
    yield Contest(
        name="help",
        unit="s",
        own=partial(process_seconds, footwork_command(), "--help"),
        limit="<= 0.15",
        note=lambda: f"`python -c pass` {process_seconds(sys.executable, '-c', 'pass'):.3f} s",
    )


def measure_audit(setting: Setting) -> Iterator[Contest]:
    """Whole processes; what one needs for a few rows of the table is not counted."""
    rows, few = setting.size(300_000, 1_000), setting.size(2_000, 100)
    table = write_table(setting.folder / "table.csv", rows, words=(20, 60))
    lines = table.read_text("utf-8").splitlines(keepends=True)
    start = setting.folder / "few.csv"
    start.write_text("".join(lines[: few + 1]), "utf-8")
    texts = [line.rpartition(",")[0] for line in lines[1:]]
    tokenizer = load_tokenizer("tiny")

    seen: dict[str, float] = {}

    def used(figure: str) -> float:
        if figure not in seen:  # both figures of a round are of one pair of processes
            whole, bare = audit_usage(table), audit_usage(start)
            spent = whole.ru_utime + whole.ru_stime - bare.ru_utime - bare.ru_stime
            seen["cpu"] = max(spent, 0.01)  # what the clock of processes tells apart
            seen["peak_memory"] = max((whole.ru_maxrss - bare.ru_maxrss) / 1024, 1.0)
        return seen.pop(figure)

    def tokenized() -> float:
        began = time.process_time()
        for first in range(0, len(texts), 1000):
            tokenizer(texts[first : first + 1000], truncation=False, verbose=False)
        return time.process_time() - began

    alone = Peer(name="tokenizing every text whole, alone", measure=tokenized, target=1 / 0.6)
    size = Peer(name="the table", measure=lambda: table.stat().st_size / MEBI, target=1 / 3)
    note = f"{rows:,} rows, beyond what {few:,} rows take"
    for name, unit, peer in (("cpu", "s", alone), ("peak_memory", "MiB", size)):
        yield Contest(
            name=f"audit_{name}",
            unit=unit,
            own=partial(used, name),
            peers=(peer,),
            warm_up=False,
            note=lambda: note,
        )


def audit_usage(table: Path) -> resource.struct_rusage:
    """CPU and peak memory of one `audit`."""
    command = [sys.executable, "-m", "textclf", "audit", str(table), "--model", "tiny", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage


def measure_prediction(setting: Setting) -> Iterator[Contest]:
    """One model, one list of texts of mixed lengths; loading is not timed."""
    texts = mixed_texts(setting.size(96, 8))
    folder = save_classifier(setting.folder / "model", MINIATURE if setting.miniature else SMALL)
    spread_answers(folder, texts)
    measure_rounding(folder, mixed_texts(2 * FEWEST))
    classifier = TextClassifier.load(folder)
    plain = pipeline("text-classification", model=str(folder), dtype=torch.float32)
    bf16 = has_bf16(compute_device())
    best = pipeline("text-classification", model=str(folder), dtype="bfloat16") if bf16 else plain
    told: dict[str, list[str]] = {}

    def own() -> float:
        def work() -> None:
            told["own"] = [answer.label or "" for answer in classifier.predict(texts)]

        return len(texts) / seconds(work)

    def peer(name: str, ask: Any, batch_size: int, *, by_length: bool = False) -> float:
        def work() -> None:
            order = np.argsort([len(text) for text in texts]) if by_length else range(len(texts))
            answers = ask([texts[row] for row in order], batch_size=batch_size)
            labels = {row: answer["label"] for row, answer in zip(order, answers, strict=True)}
            told[name] = [labels[row] for row in range(len(texts))]

        return len(texts) / seconds(work)

    def same() -> str:
        shares = [
            np.mean([a == b for a, b in zip(told["own"], t, strict=True)]) for t in told.values()
        ]
        return f"at least {min(shares):.1%} of the labels are the same"

    batch = f"batch_size={ANSWERED_AT_ONCE}"
    sorted_name = f"pipeline, {batch}, texts sorted by length, {'bf16' if bf16 else 'float32'}"
    yield Contest(
        name="predict",
        unit="texts/s",
        own=own,
        peers=(
            Peer(name="pipeline at its defaults", measure=partial(peer, "plain", plain, 1)),
            Peer(name=f"pipeline, {batch}", measure=partial(peer, batch, plain, ANSWERED_AT_ONCE)),
            Peer(
                name=sorted_name,
                measure=partial(peer, "sorted", best, ANSWERED_AT_ONCE, by_length=True),
                target=1,
            ),
        ),
        note=same,
    )


def spread_answers(folder: Path, texts: list[str]) -> None:
    """Scale and centre the random head so that the labels depend on the text.

    Random weights answer every text nearly alike; the comparison of labels would be a comparison
    of rounding errors.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    sample = tokenizer(texts[:32], padding=True, return_tensors="pt")
    with torch.no_grad():
        margins = model(**sample).logits @ torch.tensor([-1.0, 1.0])
        scale = 2.0 / float(margins.std())
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale)[1] -= scale * float(margins.median())
    model.save_pretrained(folder)


def measure_rounding(folder: Path, texts: list[str]) -> None:
    """Keep with a classifier what bf16 adds to its answers, as a training publishes it."""
    bf16, exact = (
        TextClassifier.load(folder, ClassifierOptions(precision=precision))
        for precision in ("bf16", "float32")
    )
    error = measured_error(exact.rule, bf16.logits(texts), exact.logits(texts))
    facts = {"task": exact.task, "labels": exact.labels, "max_length": exact.max_length}
    write_json(folder / MANIFEST, facts | {"rounding": error and error.to_dict()})


def measure_training(setting: Setting) -> Iterator[Contest]:
    """An epoch of `full`: real tokens a second. Batches that are all alike need fewer steps."""
    epoch = course(setting, rows=setting.size(480, 96), learning_rate=2e-5)
    few = course(setting, rows=setting.size(480, 96), learning_rate=2e-5, steps=setting.size(5, 3))
    seen: dict[str, Run] = {}

    def own() -> float:
        seen["own"] = train_with_footwork(epoch)
        return seen["own"].tokens_per_second

    def peer(name: str) -> float:
        seen[name] = train_with_trainer(few if name == PADDED else epoch, name)
        return seen[name].tokens_per_second

    yield Contest(
        name="train_full",
        unit="tokens/s",
        own=own,
        peers=(
            Peer(name=PADDED, measure=partial(peer, PADDED)),
            Peer(name=DYNAMIC, measure=partial(peer, DYNAMIC)),
            Peer(name=BEST, measure=partial(peer, BEST), target=1),
        ),
        warm_up=False,
        note=lambda: (
            "tokens a row: "
            + ", ".join(f"{name} {run.tokens_a_row:.1f}" for name, run in seen.items())
        ),
    )


def measure_accuracy(setting: Setting) -> Iterator[Contest]:
    """A narrow model of the same family, long enough to learn; each round has its own seed."""
    seeds = {name: iter(range(100)) for name in ("own", PADDED, DYNAMIC, BEST)}

    def trained(name: str) -> float:
        given = course(
            setting,
            rows=setting.size(6_920, 96),
            learning_rate=1e-3,
            steps=setting.size(120, 3),
            narrow=True,
            seed=next(seeds[name]),
        )
        run = train_with_footwork(given) if name == "own" else train_with_trainer(given, name)
        return run.accuracy

    yield Contest(
        name="train_full_accuracy",
        unit="of 1",
        own=partial(trained, "own"),
        peers=[Peer(name=name, measure=partial(trained, name)) for name in (DYNAMIC, BEST)],
        warm_up=False,
        note=lambda: "on held-out rows, after 120 steps",
    )


def measure_head(setting: Setting) -> Iterator[Contest]:
    """`head`: what its solution costs, search for the penalty included, beside the one pass."""
    given = course(setting, rows=setting.size(2000, 96), learning_rate=1e-3)
    data, config = load_data(given.table, TrainConfig()), InferenceConfig(precision="float32")
    model, _ = load_classifier(str(given.model), labels=data.labels, task=data.task)
    texts = tokenize(load_tokenizer(str(given.model)), data.train.texts, None, 256)
    reader = SequenceModel(FeatureReader(model), config)
    features, targets = torch.from_numpy(reader.logits(texts)), data.train.targets
    alike = StratifiedGroups(targets, text_groups(data.train.texts, None))
    answer = partial(
        solve, features, torch.from_numpy(targets), len(data.labels), row_loss(data.task), alike
    )
    one_pass = Peer(
        name="the one pass over the texts",
        measure=lambda: seconds(lambda: reader.logits(texts)),
        target=5,
    )
    yield Contest(name="head_solved", unit="s", own=lambda: seconds(answer), peers=(one_pass,))


def measure_memory(setting: Setting) -> Iterator[Contest]:
    """Peak memory of training on the same steps, each method in a process of its own."""
    given = course(setting, rows=setting.size(480, 96), learning_rate=2e-5, steps=4)

    def peak(method: str) -> float:
        if setting.miniature and method != BEST:
            return peak_memory(given.model, given.table, method)
        command = [sys.executable, "-m", __name__, str(given.model), str(given.table), method]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    yield Contest(
        name="peak_memory_lora",
        unit="MiB",
        own=partial(peak, "lora"),
        peers=(
            Peer(name="full", measure=partial(peak, "full"), target=2),
            Peer(name=BEST, measure=partial(peak, BEST)),
        ),
        rounds=2,
        warm_up=False,
    )


def peak_memory(model: Path, table: Path, method: str) -> float:
    """Of four steps in this process, in mebibytes beyond interpreter, libraries and table."""
    given = Course(model=model, table=table, learning_rate=2e-5, steps=4)
    by_trainer = method == BEST
    run = train_with_trainer(given, method) if by_trainer else train_with_footwork(given, method)
    return run.mebibytes


def course(setting: Setting, *, rows: int, narrow: bool = False, **course: Any) -> Course:
    """A model and a table with SST-2's lengths, made where they are not there yet."""
    shape = MINIATURE if setting.miniature else NARROW if narrow else SMALL
    table, model = setting.folder / "table", setting.folder / "model"
    if not table.exists():
        save_classifier(model, shape)
        for split, count in (("train", rows), ("validation", setting.size(256, 32))):
            write_table(table / f"{split}.csv", count)
    return Course(model=model, table=table, **course)


BENCHMARKS: dict[str, Benchmark] = {
    "help": measure_help,
    "audit": measure_audit,
    "predict": measure_prediction,
    "head": measure_head,
    "memory": measure_memory,
    "accuracy": measure_accuracy,
    "train": measure_training,
}

if __name__ == "__main__":
    print(peak_memory(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
