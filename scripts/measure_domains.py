"""Measure what domain adaptation is worth: source alone, adapted, and the target's own labels.

    python -m scripts.measure_domains MODEL RESULTS [FOLDER] [--rows 500] [--pairs books-dvd,...]
        [--method full] [--num-epochs N] [--max-length 128] [--seeds 1]

FOLDER holds a table a domain, with the columns `text` and `label`: each is a source for each other
one. Without FOLDER MODEL is an image model, and the domains are filled shapes and outlines, drawn
here. `--rows` is how many are drawn of a source, a tenth of them (of images a fifth) to validate;
of the target as many as are trained on take part without labels, and as many others judge. Every
run is a line of RESULTS, and is not done twice; the table of all lines is printed as Markdown.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from footwork.tables.reader import read_table
from scripts.tiny.drawing import OUTLINES
from textclf import TrainConfig, train
from zeroshot import FinetuneConfig, finetune

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
SIDE = 96
MODELS = ("source_only", "adapted", "ceiling")


def write_texts(table: Path, path: Path, rows: int, seed: int) -> None:
    """So many rows of a table."""
    columns = read_table(table).columns
    known = list(zip(columns["text"], columns["label"], strict=True))
    random.Random(seed).shuffle(known)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *known[:rows]])


def draw_shapes(folder: Path, count: int, seed: int, *, filled: bool) -> None:
    """So many images of shapes in any place, size and shade, each shape in a folder of its name."""
    generator = random.Random(f"{seed} {filled}")
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        radius = generator.uniform(0.2, 0.42) * SIDE
        x, y = (generator.uniform(radius, SIDE - radius) for _ in range(2))
        ground = tuple(generator.randrange(256) for _ in range(3))
        paint = tuple((level + generator.randrange(90, 167)) % 256 for level in ground)
        image = Image.new("RGB", (SIDE, SIDE), ground)
        outline = [(x + radius * u, y + radius * v) for u, v in OUTLINES[shape][0]]
        brush = ImageDraw.Draw(image)
        if filled:
            brush.polygon(outline, fill=paint)
        else:
            brush.line([*outline, outline[0]], fill=paint, width=2)
        (folder / shape).mkdir(parents=True, exist_ok=True)
        image.save(folder / shape / f"{number}.png")


def measured(given: argparse.Namespace, pair: tuple[str, str], seed: int) -> dict[str, Any]:
    """What `footwork.json` says of the domains."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        ending = ".csv" if given.folder else ""
        places = work / f"source{ending}", work / f"target{ending}"
        how: dict[str, Any] = {"model_id": given.model, "method": given.method, "seed": seed}
        how |= {"target": str(places[1]), "num_epochs": given.num_epochs}
        if given.folder is None:
            for domain, place, rows in zip(pair, places, (given.rows, 2 * given.rows), strict=True):
                draw_shapes(place, rows, seed, filled=domain == "filled")
            done = finetune(places[0], work / "out", FinetuneConfig(**how))
        else:
            for domain, place, rows in zip(pair, places, (given.rows, 2 * given.rows), strict=True):
                write_texts(given.folder / f"{domain}.csv", place, rows, seed)
            config = TrainConfig(**how, max_length=given.max_length)
            done = train(places[0], work / "out", config)
    found: dict[str, Any] = done.manifest["domains"]
    return found


def to_markdown(lines: Sequence[dict[str, Any]]) -> str:
    """Accuracy on the target with its 95 % interval, and the proxy A-distance, a line a run."""
    heads = ("source → target", "seed", "source alone", "adapted", "ceiling", "A-distance")
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for line in lines:
        models, cells = line["models"], [" → ".join(line["pair"]), str(line["seed"])]
        for name in MODELS:
            found = ((models.get(name) or {}).get("target") or {}).get("accuracy")
            ends = found and f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
            cells.append(ends or "-")
        before, after = (models[name]["proxy_a_distance"] for name in MODELS[:2])
        cells.append(f"{before:.2f} → {after:.2f}" if None not in (before, after) else "-")
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--pairs")
    parser.add_argument("--method", default="full")
    parser.add_argument("--num-epochs", type=float)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    domains = sorted(table.stem for table in given.folder.glob("*.csv")) if given.folder else []
    pairs = list(itertools.permutations(domains, 2)) or [("filled", "outlines")]
    wanted = [tuple(pair.split("-")) for pair in given.pairs.split(",")] if given.pairs else pairs
    known = given.results.read_text().splitlines() if given.results.exists() else []
    lines = [json.loads(line) for line in known]
    told = ("model", "method", "rows", "num_epochs", "max_length")
    settings = {name: getattr(given, name) for name in told}
    done = [{key: line[key] for key in (*settings, "pair", "seed")} for line in lines]
    for pair, seed in itertools.product(wanted, range(given.seeds)):
        line: dict[str, Any] = {**settings, "pair": list(pair), "seed": seed}
        if line in done:
            continue
        begin = time.monotonic()
        line |= measured(given, pair, seed)
        line |= {"seconds": time.monotonic() - begin}
        with given.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        lines.append(line)
    print(to_markdown(lines))


if __name__ == "__main__":
    main()
