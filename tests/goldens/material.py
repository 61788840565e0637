"""The folder in which the recorded commands run: tables, photos and examples, always the same."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

from PIL import Image

from scripts.tiny.drawing import Scene, draw
from tests.tables import sentiment_rows, sentiment_table, write_table

TAKEN = 1_715_940_000.0  # 2024-05-17, 10:00 UTC


def lay_out(place: Path) -> None:
    """Write everything that commands.txt names and no command of it makes."""
    for name, rows in (("reviews.csv", 60), ("held_out.csv", 40), ("new.csv", 4)):
        sentiment_table(place / name, rows)
    (place / "parts").mkdir()
    for name, rows in (("train.csv", 60), ("validation.csv", 20), ("test.csv", 20)):
        sentiment_table(place / "parts" / name, rows)
    texts = [text for text, _ in sentiment_rows(60)]
    flags = [(text, str(i % 2), str(1 - i % 2)) for i, text in enumerate(texts)]
    write_table(place / "toxic.csv", flags, ("text", "toxic", "insult"))
    write_table(place / "one_class.csv", [(text, "same") for text in texts], ("text", "label"))
    amounts = "".join(f"{text}\t{i % 2 + 0.5}\n" for i, text in enumerate(texts))
    (place / "amounts.tsv").write_text(f"text\tscore\n{amounts}")
    pairs = [
        {"premise": text, "claim": texts[-i], "label": "yes" if i % 2 else "no"}
        for i, text in enumerate(texts)
    ]
    (place / "pairs.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    good, bad = texts[1], texts[0]
    (place / "spoilt.jsonl").write_text(f'{{"text": "{good}"}}\n{{"text": \n{{"text": "{bad}"}}\n')
    (place / "lines.txt").write_text(f"{good}\n{bad}\n")
    (place / "run.toml").write_text(
        'model = "tiny"\nnum_epochs = 8\nbatch_size = 16\nmixed_precision = "float32"\n'
    )
    _lay_out_pictures(place)


def _lay_out_pictures(place: Path) -> None:
    generator = random.Random(5)
    for colour in ("red", "blue", "green"):
        for shape in ("circle", "star", "square"):
            ground = ("white", "black")[len(shape) % 2]
            _save(place / f"photos/{colour}/{shape}.png", generator, shape, colour, ground)
    for name in ("circle", "star", "triangle"):
        for number in range(5):
            ground = ("white", "gray")[number % 2]
            _save(place / f"examples/{name}/{number}.png", generator, name, "red", ground)
    photos = place / "photos"
    (photos / "grey").mkdir()
    with Image.open(photos / "red/star.png") as star:
        star.convert("L").save(photos / "grey/star.png")
    shutil.copy(photos / "green/star.png", photos / "green/star-copy.png")
    (photos / "notes.jpg").write_bytes(b"no picture")
    (photos / "film.mp4").write_bytes(b"no picture")
    shutil.copytree(photos / "blue", place / "moved")
    (place / "moved/star.cr2").write_bytes(b"raw")
    (place / "labels.txt").write_text("# what is drawn\ncircle\nstar\n")
    (place / "listed.txt").write_text("photos/red/star.png\nphotos/red/gone.png\n")
    (place / "queries.txt").write_text("a red star\na blue circle\n")
    for path in place.rglob("*.*"):
        os.utime(path, (TAKEN, TAKEN))


def _save(path: Path, generator: random.Random, shape: str, colour: str, ground: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(Scene(shape, colour, "plain", "large", 1, ground), generator, 128).save(path)
