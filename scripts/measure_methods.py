"""Measure ways to adapt an encoder on your tables, beside scikit-learn on its frozen vectors.

    python -m scripts.measure_methods MODEL RESULTS TABLE... [--sizes 16c,1000,all]
        [--methods head,lora,full] [--seeds 3]

Each TABLE has a test part, or a tenth of it becomes one. `16c` draws 16 rows a class, `1000` so
many rows. Every run is a line of RESULTS, and is not done twice; the table of all lines is printed
as Markdown: test accuracy, mean and spread over the seeds, and seconds. The peer is scikit-learn's
LogisticRegression as it comes, on the mean over the tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch

from textclf import TrainConfig, train
from textclf.data import Examples, LabelledData, load_data

PEER = "scikit-learn"
Row = dict[str, str]


def rows_of(part: Examples, labels: Sequence[str]) -> list[Row]:
    pairs = zip(part.texts, part.targets.tolist(), strict=True)
    return [{"text": text, "label": labels[target]} for text, target in pairs]


def read(table: str) -> dict[str, list[Row]]:
    """All rows to train on, and those to test on."""
    data: LabelledData = load_data(table, TrainConfig())
    known = rows_of(data.train, data.labels) + rows_of(data.validation, data.labels)
    if data.test is not None:
        return {"train": known, "test": rows_of(data.test, data.labels)}
    random.Random(0).shuffle(known)
    return {"train": known[len(known) // 10 :], "test": known[: len(known) // 10]}


def drawn(rows: Sequence[Row], size: str, seed: int) -> list[Row]:
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    if size == "all":
        return shuffled
    if not size.endswith("c"):
        return shuffled[: int(size)]
    seen: dict[str, int] = defaultdict(int)
    chosen = []
    for row in shuffled:
        seen[row["label"]] += 1
        if seen[row["label"]] <= int(size[:-1]):
            chosen.append(row)
    return chosen


def by_scikit_learn(model: str, splits: dict[str, list[Row]]) -> float:
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    encoder = AutoModel.from_pretrained(model, dtype=torch.float32).eval()

    def vectors(rows: Sequence[Row]) -> Any:
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]["text"]))
        found = torch.empty(len(rows), encoder.config.hidden_size)
        for start in range(0, len(order), 32):
            places = order[start : start + 32]
            texts = [rows[place]["text"] for place in places]
            batch = tokenizer(
                texts, padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                states = encoder(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            found[places] = (states * mask).sum(1) / mask.sum(1)
        return found.numpy()

    labels = {name: [row["label"] for row in rows] for name, rows in splits.items()}
    known = LogisticRegression(max_iter=1000).fit(vectors(splits["train"]), labels["train"])
    return float(known.score(vectors(splits["test"]), labels["test"]))


def measured(method: str, model: str, splits: dict[str, list[Row]], seed: int) -> float:
    if method == PEER:
        return by_scikit_learn(model, splits)
    named = {} if method == "linear" else {"model_id": model}
    folder = Path(tempfile.mkdtemp())
    try:
        config = TrainConfig(method=method, seed=seed, **named)
        done = train(splits, folder / "out", config)
        return done.evaluation.metrics["accuracy"].value
    finally:
        shutil.rmtree(folder)


def to_markdown(lines: Sequence[dict[str, Any]]) -> str:
    methods = list(dict.fromkeys(line["method"] for line in lines))
    cells: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for line in lines:
        row = cells.setdefault((line["data"], line["size"]), defaultdict(list))
        row[line["method"]].append(line)
    table = [f"| data | rows | {' | '.join(methods)} |", "|---" * (len(methods) + 2) + "|"]
    for (data, size), row in cells.items():
        shown = [f"| {data} | {size}"]
        for method in methods:
            found = [line["accuracy"] for line in row[method]]
            took = [line["seconds"] for line in row[method]]
            spread = f"{mean(found):.3f} ± {pstdev(found):.3f}, {mean(took):.0f} s" if found else ""
            shown.append(spread)
        table.append(" | ".join(shown) + " |")
    return "\n".join(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("results", type=Path)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--sizes", default="16c,1000,all")
    parser.add_argument("--methods", default="linear,head,lora,full")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    known = given.results.read_text().splitlines() if given.results.exists() else []
    lines = [json.loads(line) for line in known]
    done = {tuple(line[key] for key in ("data", "size", "method", "seed")) for line in lines}
    for table in given.tables:
        splits, name = read(table), Path(table).stem
        for size in given.sizes.split(","):
            for seed in range(given.seeds):
                part = splits | {"train": drawn(splits["train"], size, seed)}
                for method in (*given.methods.split(","), PEER):
                    if (name, size, method, seed) in done:
                        continue
                    begin = time.monotonic()
                    accuracy = measured(method, given.model, part, seed)
                    line = {"data": name, "size": size, "method": method, "seed": seed}
                    line |= {"accuracy": accuracy, "seconds": time.monotonic() - begin}
                    with given.results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    lines.append(line)
    print(to_markdown(lines))


if __name__ == "__main__":
    main()
