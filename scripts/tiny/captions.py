"""Say what a drawn picture shows: one full caption, and many that leave something out.

Prompt templates of the usual zero-shot sets ("itap of a {}.", "a blurry photo of the {}.") are
wrapped around captions at random, so that a model learns to look through them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

from scripts.tiny.drawing import Scene

PROPERTIES = tuple(field.name for field in fields(Scene))
LIKELY = {"colour": 0.6, "texture": 0.45, "size": 0.45, "count": 0.5, "background": 0.4}
NUMBERS = {1: ("one", "a single", "1"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
ANY_SHAPE = ("shape", "object", "thing", "figure")
MARKS = {"plain": "no pattern", "striped": "stripes", "dotted": "dots", "checkered": "checks"}
GROUNDS = ("on {a} background", "against {a} background", "with {a} background", "on {bare}")
MANNERS = (
    *("good", "bad", "nice", "clean", "sharp", "bright", "dark", "blurry", "grainy", "cropped"),
    *("close-up", "pixelated", "low resolution", "black and white", "jpeg corrupted"),
)
MEDIA = (
    *("photo", "picture", "image", "drawing", "painting", "sketch", "rendering", "rendition"),
    *("sculpture", "tattoo", "doodle", "icon"),
)
FILLERS = (
    *("clean", "dirty", "nice", "weird", "cool", "hard to see"),
    *("toy", "plastic", "origami", "cartoon", "embroidered", "plushie"),
)
OPENINGS = (
    *("itap of", "art of", "graffiti of", "a close-up of", "i see", "look at"),
    *("there is", "there are", "this is", "these are", "an image with", "a picture showing"),
    *("the picture shows", "the photo shows", "the image shows"),
)
CLOSINGS = ("in a video game", "in the picture", "in this photo", "here")


@dataclass(frozen=True, slots=True)
class Caption:
    """A text, and which properties of the scene it speaks of."""

    text: str
    claims: frozenset[str]


def full_caption(scene: Scene) -> str:
    """The caption that names every property: equal captions mean equal scenes."""
    number = "a" if scene.count == 1 else NUMBERS[scene.count][0]
    shape = scene.shape if scene.count == 1 else plural(scene.shape)
    adjectives = f"{scene.size} {scene.texture} {scene.colour}"
    return f"{number} {adjectives} {shape} on {with_article(scene.background)} background"


def varied_caption(scene: Scene, generator: random.Random) -> Caption:
    """A true caption that speaks of some properties, in words of the generator's choice."""
    claims = random_claims(generator)
    if generator.random() < 0.08:
        return Caption(tags(scene, claims, generator), claims)
    return Caption(wrapped(phrase(scene, claims, generator), generator), claims)


def random_claims(generator: random.Random) -> frozenset[str]:
    """The shape alone, the shape and more, or without it at least one other property."""
    if generator.random() < 0.45:
        return frozenset({"shape"})
    claims = {name for name, share in LIKELY.items() if generator.random() < share}
    if not claims or generator.random() < 0.7:
        claims.add("shape")
    return frozenset(claims)


def wrapped(text: str, generator: random.Random) -> str:
    """The text as it is, or as a prompt template would hold it."""
    fate = generator.random()
    if fate < 0.3:
        manner = generator.choice(MANNERS) if generator.random() < 0.5 else ""
        medium = f"{manner} {generator.choice(MEDIA)}".strip()
        article = generator.choice((with_article(medium), f"the {medium}", medium))
        text = f"{article} of {text}"
    elif fate < 0.45:
        text = f"{generator.choice(OPENINGS)} {text}"
    elif fate < 0.5:
        text = f"{text} {generator.choice(CLOSINGS)}"
    return text + generator.choice((".", "", ""))


def phrase(scene: Scene, claims: frozenset[str], generator: random.Random) -> str:
    """A determiner, adjectives, a noun, and what comes after it."""
    if claims == {"background"}:
        ground = f"{scene.background} background"
        return generator.choice((ground, with_article(ground)))
    adjectives = [getattr(scene, name) for name in ("size", "texture", "colour") if name in claims]
    if not claims & {"shape", "count", "background"} and generator.random() < 0.4:
        words = " ".join(adjectives)
        return generator.choice((words, f"something {words}", with_article(words)))
    after = []
    if "texture" in claims and generator.random() < 0.15:
        adjectives.remove(scene.texture)
        after.append(f"with {MARKS[scene.texture]}")
    if "background" in claims:
        ground = scene.background
        after.append(generator.choice(GROUNDS).format(a=with_article(ground), bare=ground))
    if generator.random() < 0.25:
        generator.shuffle(adjectives)
    if generator.random() < 0.1:
        adjectives.insert(0, generator.choice(FILLERS))
    name = scene.shape if "shape" in claims else generator.choice(ANY_SHAPE)
    several = scene.count > 1 and ("count" in claims or generator.random() < 0.7)
    words = " ".join([*adjectives, plural(name) if several else name])
    number = scene.count if "count" in claims else None
    return " ".join([determined(words, determiners(number, several), generator), *after])


def determiners(number: int | None, several: bool) -> tuple[str, ...]:
    """What may stand before the noun, where the number is told and where it is not."""
    if number is not None:
        return NUMBERS[number] if several else (*NUMBERS[1], "a", "a")
    return ("", "", "the", "some", "my", "many") if several else ("", "a", "a", "the", "my")


def determined(words: str, choices: Sequence[str], generator: random.Random) -> str:
    determiner = generator.choice(choices)
    return with_article(words) if determiner == "a" else f"{determiner} {words}".strip()


def tags(scene: Scene, claims: frozenset[str], generator: random.Random) -> str:
    """A list of key words: "circle, red, yellow background"."""
    words = [str(getattr(scene, name)) for name in sorted(claims - {"background", "count"})]
    words += [NUMBERS[scene.count][0]] if "count" in claims else []
    words += [f"{scene.background} background"] if "background" in claims else []
    generator.shuffle(words)
    return generator.choice((", ", " ")).join(words)


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x")) else "s")
