"""A folder of drawn pictures that the embedded model knows, and its index."""

from __future__ import annotations

import random
from pathlib import Path

from scripts.tiny.drawing import Scene, draw

COLOURS = ("red", "blue", "green")
SHAPES = ("circle", "star", "triangle", "square")


def draw_photos(folder: Path) -> Path:
    """One picture for each colour and shape, `red/circle.png`."""
    generator = random.Random(5)
    for colour in COLOURS:
        (folder / colour).mkdir(parents=True)
        for shape in SHAPES:
            scene = Scene(shape, colour, "plain", "large", 1, ("white", "black")[len(shape) % 2])
            draw(scene, generator, 128).save(folder / colour / f"{shape}.png")
    return folder
