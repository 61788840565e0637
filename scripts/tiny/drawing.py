"""Draw labelled pictures: one to four equal shapes on a background, every property known.

    python -m scripts.tiny.drawing FOLDER [COUNT [SEED]]

writes JPEGs into FOLDER, one sub-folder a shape, and `FOLDER/scenes.csv`, which says what each
shows. The embedded CLIP learns from such pictures (never from `UNSEEN_SHAPES`, which are there to
be taught by example); tests and the demo draw fresh ones. A seed always draws the same pictures.
"""

from __future__ import annotations

import csv
import io
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from footwork.arrays import FloatArray

Points = list[tuple[float, float]]


def around(radii: Sequence[float], steps: int) -> Points:
    """A closed outline from radii at equal angles, taken in turn, the first one upwards."""
    turns = [math.tau * i / steps for i in range(steps)]
    return [
        (radii[i % len(radii)] * math.sin(t), -radii[i % len(radii)] * math.cos(t))
        for i, t in enumerate(turns)
    ]


def heart() -> Points:
    turns = [math.tau * i / 48 for i in range(48)]
    waves = ((13, 1), (-5, 2), (-2, 3), (-1, 4))
    return [
        (math.sin(t) ** 3, -sum(a * math.cos(k * t) for a, k in waves) / 17 - 0.08) for t in turns
    ]


def drop() -> Points:
    turns = [math.tau * i / 48 for i in range(48)]
    return [(1.05 * math.sin(t) * math.sin(t / 2) ** 1.6, -math.cos(t)) for t in turns]


def crescent() -> Points:
    outer = [math.radians(a) for a in range(40, 321, 7)]
    inner = [math.radians(a) for a in range(303, 56, -7)]
    return [(math.cos(a), math.sin(a)) for a in outer] + [
        (0.44 + 0.72 * math.cos(a), 0.77 * math.sin(a)) for a in inner
    ]


def mirrored(right: Points) -> Points:
    """The outline whose right half is given from top to bottom."""
    return right + [(-x, y) for x, y in reversed(right)]


def fitted(outlines: tuple[Points, ...]) -> tuple[Points, ...]:
    """The same outlines, scaled to touch the unit circle from within."""
    reach = max(math.hypot(x, y) for outline in outlines for x, y in outline)
    return tuple([(x / reach, y / reach) for x, y in outline] for outline in outlines)


DRAWN: dict[str, tuple[Points, ...]] = {
    "circle": (around([1.0], 48),),
    "square": ([(-1, -1), (1, -1), (1, 1), (-1, 1)],),
    "triangle": (around([1.0], 3),),
    "diamond": ([(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],),
    "star": (around([1.0, 0.42], 10),),
    "cross": (
        mirrored(
            [(0.31, -0.93), (0.31, -0.31), (0.93, -0.31), (0.93, 0.31), (0.31, 0.31), (0.31, 0.93)]
        ),
    ),
    "ring": (around([1.0], 48), around([0.55], 48)),
    "heart": (heart(),),
    "hexagon": ([(math.cos(math.tau * i / 6), math.sin(math.tau * i / 6)) for i in range(6)],),
    "arrow": (
        [(-1, -0.26), (0.1, -0.26), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.26), (-1, 0.26)],
    ),
    "drop": (drop(),),
    "flower": (around([0.68 + 0.32 * math.cos(math.tau * i / 12) for i in range(12)], 72),),
    "house": (mirrored([(0, -0.98), (0.95, -0.1), (0.62, -0.1), (0.62, 0.75)]),),
    "tree": (
        mirrored([(0, -1), (0.5, -0.3), (0.25, -0.3), (0.72, 0.5), (0.16, 0.5), (0.16, 0.95)]),
    ),
    "crescent": (crescent(),),
    "bolt": ([(0.4, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.4, 1), (0.6, -0.15), (0.05, -0.15)],),
}
OUTLINES = {name: fitted(outlines) for name, outlines in DRAWN.items()}
"""Shape → what is filled and, where there is a second, what is cut out of it."""
UNSEEN_SHAPES = ("bolt", "crescent")
SHAPES = tuple(name for name in OUTLINES if name not in UNSEEN_SHAPES)


COLOURS = {
    "red": (214, 32, 38),
    "orange": (248, 136, 20),
    "yellow": (246, 222, 48),
    "green": (44, 156, 58),
    "blue": (36, 78, 212),
    "purple": (132, 44, 164),
    "pink": (248, 142, 192),
    "brown": (122, 74, 36),
    "black": (22, 22, 22),
    "white": (246, 246, 246),
    "gray": (132, 132, 132),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = {"small": (0.12, 0.135), "medium": (0.165, 0.185), "large": (0.22, 0.235)}
"""Radius of the circle around one shape, as a share of the picture's shorter side."""
LARGEST_ALONE = 0.38  # a large shape that is alone has more room
COUNTS = (1, 2, 3, 4)
CONTRAST = 105.0  # least distance of shape and background, in RGB levels
SUPERSAMPLING = 3
TILT = math.radians(18)  # more would turn a square into a diamond
QUARTERS = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows."""

    shape: str
    colour: str
    texture: str
    size: str
    count: int
    background: str


def random_scene(generator: random.Random, shapes: Sequence[str] = SHAPES) -> Scene:
    """Every property drawn evenly; the background stands out from the shape."""
    colour = generator.choice(list(COLOURS))
    grounds = [name for name in COLOURS if math.dist(COLOURS[name], COLOURS[colour]) > CONTRAST]
    return Scene(
        shape=generator.choice(shapes),
        colour=colour,
        texture=generator.choice(TEXTURES),
        size=generator.choice(list(SIZES)),
        count=generator.choice(COUNTS),
        background=generator.choice(grounds),
    )


def draw(
    scene: Scene, generator: random.Random, width: int = 128, height: int | None = None
) -> Image.Image:
    """Draw a scene; place, tilt, shades and noise are the generator's.

    Everything lies in the central square, so cropping to it loses nothing.

    Args:
        scene: What to show.
        generator: Decides what the scene leaves open.
        width: Pixels.
        height: Pixels; None draws a square.

    Returns:
        An RGB picture.
    """
    height = height or width
    side = min(width, height)
    radius = radius_of(scene, generator)
    covered = cover(scene, generator, radius, (width, height))[..., None]
    ground = np.array(shade(COLOURS[scene.background], generator), dtype=np.float32)
    slope = np.linspace(-1, 1, width, dtype=np.float32) * generator.uniform(-14, 14)
    fall = np.linspace(-1, 1, height, dtype=np.float32) * generator.uniform(-14, 14)
    paint = np.array(shade(COLOURS[scene.colour], generator), dtype=np.float32)
    share = pattern(scene.texture, generator, radius * side, (width, height))[..., None]
    fill = paint + share * (second_tone(paint, ground) - paint)
    base = ground + (slope[None, :] + fall[:, None])[..., None]
    noise = np.random.default_rng(generator.getrandbits(32)).standard_normal(
        (height, width, 1), dtype=np.float32
    )
    pixels = base + covered * (fill - base) + noise * generator.uniform(0, 4)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_as_found(
    scene: Scene, generator: random.Random, sides: tuple[int, int] = (64, 192)
) -> Image.Image:
    """Draw a scene as pictures come: of any size and proportion, every other one as a JPEG.

    Args:
        scene: What to show.
        generator: Decides what the scene leaves open.
        sides: Least and greatest length of the shorter side, pixels.
    """
    side = generator.randint(*sides)
    edges = [side, round(side * generator.choice((1.0, 1.0, 1.33, 1.5)))]
    generator.shuffle(edges)
    picture = draw(scene, generator, *edges)
    if generator.random() < 0.5:
        return picture
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=generator.randint(40, 95))
    return Image.open(file)


def radius_of(scene: Scene, generator: random.Random) -> float:
    low, high = SIZES[scene.size]
    if scene.count == 1 and scene.size == "large":
        high = LARGEST_ALONE
    return generator.uniform(low, high)


def shade(colour: tuple[int, int, int], generator: random.Random) -> list[float]:
    light = generator.uniform(0.92, 1.08)
    return [level * light + generator.uniform(-8, 8) for level in colour]


def second_tone(paint: FloatArray, ground: FloatArray) -> FloatArray:
    """The tone of stripes, dots and checks: darker or lighter, whichever can be seen better."""
    tones = (0.45 * paint, 0.55 * paint + 105)
    return max(tones, key=lambda tone: min(abs(tone - paint).sum(), abs(tone - ground).sum()))


def places(scene: Scene, generator: random.Random, radius: float) -> Points:
    """Centres in the unit square: anywhere for one shape, each in a quarter of its own for more."""
    if scene.count == 1:
        return [(generator.uniform(radius, 1 - radius), generator.uniform(radius, 1 - radius))]
    slack = 0.25 - radius
    return [
        (x + generator.uniform(-slack, slack), y + generator.uniform(-slack, slack))
        for x, y in generator.sample(QUARTERS, scene.count)
    ]


def cover(
    scene: Scene, generator: random.Random, radius: float, size: tuple[int, int]
) -> FloatArray:
    """How much of each pixel the shapes cover, shape (H, W), 0 to 1."""
    width, height = size
    side = min(size) * SUPERSAMPLING
    left, top = (width * SUPERSAMPLING - side) / 2, (height * SUPERSAMPLING - side) / 2
    mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    brush = ImageDraw.Draw(mask)
    for x, y in places(scene, generator, radius):
        tilt = generator.uniform(-TILT, TILT)
        cos, sin = radius * math.cos(tilt), radius * math.sin(tilt)
        for outline, tone in zip(OUTLINES[scene.shape], (255, 0), strict=False):
            brush.polygon(
                [
                    (left + side * (x + cos * u - sin * v), top + side * (y + sin * u + cos * v))
                    for u, v in outline
                ],
                fill=tone,
            )
    return np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)


def pattern(
    texture: str, generator: random.Random, radius: float, size: tuple[int, int]
) -> FloatArray:
    """Where the second tone goes, shape (H, W), 0 to 1; the grain follows the shape's size."""
    width, height = size
    if texture == "plain":
        return np.zeros((height, width), dtype=np.float32)
    period = max(radius * generator.uniform(0.42, 0.5), 0.075 * min(size))
    angle = generator.uniform(0, math.pi)
    x = np.arange(width, dtype=np.float32)[None, :] * (math.tau / period)
    y = np.arange(height, dtype=np.float32)[:, None] * (math.tau / period)
    along = np.sin(math.cos(angle) * x + math.sin(angle) * y)
    if texture == "striped":
        wave = along
    else:
        across = np.sin(math.cos(angle) * y - math.sin(angle) * x)
        wave = along * across * 2 if texture == "checkered" else along + across - 0.85
    return np.clip(0.5 + wave * np.float32(period / 4), 0, 1).astype(np.float32)


def main(folder: Path, count: int = 200, seed: int = 0) -> None:
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        scene = random_scene(generator, tuple(OUTLINES))
        path = folder / scene.shape / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(scene, generator, 256).save(path, quality=90)
        rows.append((path.relative_to(folder), *astuple(scene)))
    with (folder / "scenes.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", *Scene.__slots__), *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
