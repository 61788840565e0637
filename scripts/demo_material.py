"""Make what the demo works on: messages to a shop, and drawn pictures.

    python -m scripts.demo_material FOLDER

`messages/train.csv` and `messages/test.csv` are labelled by the desk that answers them, `new.csv`
has no labels. `photos` and `unseen` show known shapes and two that the model never saw, one
sub-folder a shape; `examples` are there to teach those two.
"""

from __future__ import annotations

import csv
import itertools
import random
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.tiny.drawing import UNSEEN_SHAPES, draw, random_scene
from scripts.tiny.opinions import fill_in

TRAIN_ROWS, TEST_ROWS = 160, 20  # a label
SEED = 0
KNOWN = ("star", "heart", "circle", "triangle")
EXAMPLES, NEW = 10, 12  # pictures of each shape


def labelled_rows(
    sentences: Mapping[str, Sequence[str]], parts: Mapping[str, str], per_label: int
) -> list[tuple[str, str]]:
    """So many different messages a label, from its sentences in turn, shuffled."""
    generator = random.Random(SEED)
    rows = []
    for label, patterns in sentences.items():
        texts: dict[str, None] = {}
        turns = itertools.cycle(patterns)
        while len(texts) < per_label:
            texts[fill_in(f"HELLO{next(turns)}BYE", parts, generator)] = None
        rows += [(text, label) for text in texts]
    generator.shuffle(rows)
    return rows


def write_table(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def save_pictures(folder: Path, shapes: Sequence[str], each: int, seed: int) -> None:
    """Pictures of each shape in a folder of its name, all else left to chance."""
    generator = random.Random(seed)
    for shape in shapes:
        (folder / shape).mkdir(parents=True)
        for number in range(each):
            scene = random_scene(generator, (shape,))
            draw(scene, generator, 256).save(folder / shape / f"{number}.jpg")


def main(folder: Path) -> None:
    words = tomllib.loads(Path(__file__).with_name("demo_messages.toml").read_text("utf-8"))
    for name, per_label in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        rows = labelled_rows(words[name], words["parts"], per_label)
        write_table(folder / "messages" / f"{name}.csv", [("text", "label"), *rows])
    write_table(folder / "new.csv", [("text",), *((text,) for text in words["new"])])
    save_pictures(folder / "photos", KNOWN, NEW, seed=1)
    save_pictures(folder / "examples", UNSEEN_SHAPES, EXAMPLES, seed=2)
    save_pictures(folder / "unseen", UNSEEN_SHAPES, NEW, seed=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
