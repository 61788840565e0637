"""The shapes that are drawn, as outlines in the unit circle, y downwards."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
