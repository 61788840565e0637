"""Measure ways to adapt an encoder on your tables or images, beside scikit-learn on frozen vectors.

    python -m scripts.measure_methods MODEL RESULTS TABLE_OR_FOLDER... [--sizes 16c,1000,all]
        [--methods head,lora,full] [--seeds 3]

A folder with images in it is read as images; all else as texts. Each has a test part, or a tenth of
it becomes one. `digits` and `shapes` name images that are made here: handwritten digits of 8 × 8
pixels (scikit-learn's), made larger, and shapes drawn in all colours and sizes. `16c` draws 16 rows
a class, `1000` so many rows. Every run is a line of RESULTS, and is not done twice; the table of
all lines is printed as Markdown: test accuracy, mean and spread (standard deviation) over the
seeds, and seconds from the encoded rows to the figures. The peer is scikit-learn's
LogisticRegression as it comes, on the mean over the tokens, or on the standardised pooled features
of the images.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from PIL import Image

from footwork.comparison.compare import SharedRows
from footwork.comparison.plan import CompareOptions, ComparisonPlan
from footwork.images.finding import has_image_ending
from footwork.methods.table import method_of
from footwork.models.hub import model_folder
from footwork.training.run import RunPlace
from scripts.tiny.drawing import SHAPES, draw, random_scene
from textclf import TrainConfig
from textclf.data import load_data
from textclf.task import task_of
from zeroshot import FinetuneConfig
from zeroshot.task import ImageTask, read_images

PEER = "scikit-learn"
Row = tuple[Any, str]
"""A text or the path of an image, and its label."""
Labelled = Iterator[tuple[str, Image.Image]]


def digits() -> Labelled:
    """500 to train, 400 to test."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(n_class=10, return_X_y=True)
    for values, label in zip(pixels[:900], labels, strict=False):
        small = Image.fromarray((255 - values.reshape(8, 8) * 15.9).astype(np.uint8))
        yield str(label), small.resize((96, 96), Image.Resampling.BICUBIC).convert("RGB")


def shapes() -> Labelled:
    """320 of eight kinds to train, as many to test."""
    generator = random.Random(0)
    for number in range(640):
        shape = SHAPES[number % 8]
        yield shape, draw(random_scene(generator, (shape,)), generator, 224)


MADE = {"digits": (digits, 500), "shapes": (shapes, 320)}
"""Name of a set that is made here → its images, and how many of them are to train on."""


def made(name: str, folder: Path) -> Path:
    """The set of this name in a folder of splits and classes."""
    images, train = MADE[name]
    for number, (label, image) in enumerate(images()):
        path = folder / ("train" if number < train else "test") / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


def holds_images(source: Path) -> bool:
    return source.is_dir() and any(has_image_ending(path.name) for path in source.rglob("*"))


def read(source: Path) -> dict[str, list[Row]]:
    """All rows to train on, and those to test on."""
    data: Any = (
        read_images(source, FinetuneConfig())
        if holds_images(source)
        else load_data(str(source), TrainConfig())
    )
    rows: dict[str, list[Row]] = defaultdict(list)
    for name, part in data.splits.items():
        inputs = part.inputs if holds_images(source) else part.texts
        labels = [data.labels[target] for target in part.targets.tolist()]
        rows["test" if name == "test" else "train"] += zip(inputs, labels, strict=True)
    if "test" not in rows:
        random.Random(0).shuffle(rows["train"])
        tenth = len(rows["train"]) // 10
        rows["test"], rows["train"] = rows["train"][:tenth], rows["train"][tenth:]
    return rows


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
        seen[row[1]] += 1
        if seen[row[1]] <= int(size[:-1]):
            chosen.append(row)
    return chosen


def laid_out(splits: dict[str, list[Row]], folder: Path) -> Any:
    """As a task reads them: texts in memory, images as links in a folder a class."""
    if not isinstance(splits["train"][0][0], Path):
        return {
            name: [{"text": text, "label": label} for text, label in rows]
            for name, rows in splits.items()
        }
    for name, rows in splits.items():
        for number, (path, label) in enumerate(rows):
            link = folder / name / label / f"{number}{path.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())
    return folder


def by_scikit_learn(model: str, splits: dict[str, list[Row]]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images = isinstance(splits["train"][0][0], Path)
    vectors = image_vectors if images else text_vectors
    features = {name: vectors(model, [each for each, _ in rows]) for name, rows in splits.items()}
    labels = {name: [label for _, label in rows] for name, rows in splits.items()}
    regression = LogisticRegression(max_iter=1000)
    known = make_pipeline(StandardScaler(), regression) if images else regression
    known.fit(features["train"], labels["train"])
    return float(known.score(features["test"], labels["test"]))


def text_vectors(model: str, texts: Sequence[str]) -> Any:
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = torch.empty(len(texts), encoder.config.hidden_size)
    for start in range(0, len(order), 32):
        places = order[start : start + 32]
        batch = tokenizer(
            [texts[place] for place in places],
            padding=True,
            truncation=True,
            max_length=256,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = encoder(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        found[places] = (states * mask).sum(1) / mask.sum(1)
    return found.numpy()


def image_vectors(model: str, paths: Sequence[Path]) -> Any:
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(model, backend="pil")
    encoder = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    tower = getattr(encoder, "vision_model", encoder)
    found = []
    for start in range(0, len(paths), 16):
        opened = [Image.open(path).convert("RGB") for path in paths[start : start + 16]]
        with torch.inference_mode():
            pixels = processor(images=opened, return_tensors="pt")["pixel_values"]
            found.append(tower(pixel_values=pixels).pooler_output.flatten(1))
    return torch.cat(found).numpy()


def measured(
    model: str, splits: dict[str, list[Row]], methods: Sequence[str], seed: int
) -> Iterator[tuple[str, float, float]]:
    """Method, accuracy and seconds of each that came to an end."""
    images = isinstance(splits["train"][0][0], Path)
    able = [name for name in methods if name != PEER and (method_of(name).has_model or not images)]
    if PEER in methods:
        begin = time.monotonic()
        yield PEER, by_scikit_learn(model, splits), time.monotonic() - begin
    if not able:
        return
    config = (FinetuneConfig if images else TrainConfig)(model_id=model, seed=seed)
    plan = ComparisonPlan(config, CompareOptions(methods=tuple(able), seeds=(seed,)))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = laid_out(splits, work / "images")
        shared = SharedRows((lambda _: ImageTask()) if images else task_of, source, plan, work)
        for key, each in plan.runs.items():
            place = RunPlace(work / key.name, work / "out", replaces=False)
            run = shared.run(each, place, lambda _: None)
            if run.failure:
                print(f"{key} failed: {run.failure}")
            else:
                yield key.method, run.metrics["accuracy"]["value"], run.cost["seconds"]


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
            spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
            shown.append(f"{mean(found):.3f}{spread}, {mean(took):.0f} s" if found else "")
        table.append(" | ".join(shown) + " |")
    return "\n".join(table)


def measured_lines(
    splits: dict[str, list[Row]], name: str, given: argparse.Namespace, lines: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What is asked of a set and not among the lines yet."""
    done = {tuple(line[key] for key in ("data", "size", "method", "seed")) for line in lines}
    for size in given.sizes.split(","):
        for seed in range(given.seeds):
            part = splits | {"train": drawn(splits["train"], size, seed)}
            methods = (*given.methods.split(","), PEER)
            todo = [each for each in methods if (name, size, each, seed) not in done]
            for method, accuracy, seconds in measured(given.model, part, todo, seed):
                line = {"data": name, "size": size, "method": method, "seed": seed}
                yield line | {"accuracy": accuracy, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("results", type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--sizes", default="16c,1000,all")
    parser.add_argument("--methods", default="linear,head,lora,full")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    known = given.results.read_text().splitlines() if given.results.exists() else []
    lines = [json.loads(line) for line in known]
    with tempfile.TemporaryDirectory() as folder:
        for source in given.sources:
            name = source.stem
            held = made(name, Path(folder, name)) if str(source) in MADE else source
            for line in measured_lines(read(held), name, given, lines):
                with given.results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                lines.append(line)
    print(to_markdown(lines))


if __name__ == "__main__":
    main()
