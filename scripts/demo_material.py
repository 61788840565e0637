"""Make what the demo works on: reviews of a hotel, and drawn pictures.

    python -m scripts.demo_material FOLDER

`meaning` and `words` hold reviews, `train.csv` and `test.csv`, labelled by whether the guest was
happy on the whole; `new.csv` has no labels. `photos` and `unseen` show known shapes and two that
the model never saw, one sub-folder a shape; `examples` are there to teach those two.
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
from scripts.tiny.opinions import ARTICLE, fill_in

ROWS = {"words": (300, 80), "meaning": (900, 210)}  # of each table, to learn from and to test on
SEED = 0
KNOWN = ("star", "heart", "circle", "triangle")
EXAMPLES, NEW = 10, 12  # pictures of each shape


def labelled_reviews(
    sentences: Sequence[str], named: Mapping[str, str], opinions: tuple[str, str], count: int
) -> list[tuple[str, str]]:
    """So many different reviews and their labels, from the sentences in turn, shuffled.

    Each sentence is used for either label, so that no word of its own tells.
    """
    generator = random.Random(SEED)
    rows: dict[str, str] = {}
    sides = {"happy": opinions, "unhappy": opinions[::-1]}
    turns = itertools.cycle(itertools.product(sentences, sides))
    while len(rows) < count:
        sentence, label = next(turns)
        own, other = sides[label]
        text = fill_in(sentence, {**named, "OWN": own, "OTHER": other}, generator)
        text = ARTICLE.sub(r"\1n ", text)
        rows[text[0].upper() + text[1:]] = label
    shuffled = list(rows.items())
    generator.shuffle(shuffled)
    return shuffled


def write_table(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def save_pictures(folder: Path, shapes: Sequence[str], each: int, seed: int) -> None:
    """Pictures of each shape in a folder of its name, all else left to chance."""
    generator = random.Random(seed)
    for shape in shapes:
        (folder / shape).mkdir(parents=True)
        for number in range(each):
            scene = random_scene(generator, (shape,))
            draw(scene, generator, 256).save(folder / shape / f"{number}.jpg")


def main(folder: Path) -> None:
    words = tomllib.loads(Path(__file__).with_name("demo_reviews.toml").read_text("utf-8"))
    for table, counts in ROWS.items():
        for part, count in zip(("train", "test"), counts, strict=True):
            # Only where meaning is asked for are the words of the test new.
            spoken = words[part if table == "meaning" else "train"]
            opinions = (spoken["GOOD"], spoken["BAD"])
            rows = labelled_reviews(words[part][table], words["named"], opinions, count)
            write_table(folder / table / f"{part}.csv", [("text", "label"), *rows])
    write_table(folder / "new.csv", [("text",), *((text,) for text in words["new"])])
    save_pictures(folder / "photos", KNOWN, NEW, seed=1)
    save_pictures(folder / "examples", UNSEEN_SHAPES, EXAMPLES, seed=2)
    save_pictures(folder / "unseen", UNSEEN_SHAPES, NEW, seed=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
