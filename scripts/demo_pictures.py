"""Draw what the demo labels: known shapes, examples of two new ones, and more of those to find."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from scripts.draw_pictures import Scene, draw, random_scene
from scripts.shape_outlines import UNSEEN_SHAPES

KNOWN = ("star", "heart", "circle", "triangle")
EXAMPLES, NEW = 10, 12  # of each shape


def save_pictures(folder: Path, shapes: tuple[str, ...], each: int, seed: int) -> None:
    """Pictures of each shape in a folder of its name, all else left to chance."""
    generator = random.Random(seed)
    for shape in shapes:
        (folder / shape).mkdir(parents=True)
        for number in range(each):
            draw(_scene(shape, generator), generator, 256).save(folder / shape / f"{number}.jpg")


def _scene(shape: str, generator: random.Random) -> Scene:
    return random_scene(generator, (shape,))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    save_pictures(root / "photos", KNOWN, NEW, seed=1)
    save_pictures(root / "examples", UNSEEN_SHAPES, EXAMPLES, seed=2)
    save_pictures(root / "unseen", UNSEEN_SHAPES, NEW, seed=3)
