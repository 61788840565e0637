"""How well a CLIP knows freshly drawn pictures, through transformers alone.

python -m scripts.tiny.measure_clip FOLDER [PICTURES [SEED]]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from footwork.arrays import FloatArray
from scripts.tiny.captions import full_caption
from scripts.tiny.drawing import COLOURS, OUTLINES, SHAPES, Scene, draw, draw_as_found, random_scene

AMONG = 256  # captions that a picture is looked for among
EXAMPLES = 5  # a class
SEED = 1_000_003  # no seed of the training


class Embedder:
    """A CLIP folder as transformers loads it, in float32."""

    def __init__(self, folder: Path) -> None:
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Unit rows, shape (N, D)."""
        inputs = self.processor(images=list(pictures), return_tensors="pt")
        return unit(self.model.get_image_features(**inputs).pooler_output.numpy())

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, shape (N, D)."""
        inputs = self.processor(text=list(texts), padding=True, return_tensors="pt")
        return unit(self.model.get_text_features(**inputs).pooler_output.numpy())


def unit(rows: FloatArray) -> FloatArray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measure(
    embedder: Embedder, scenes: Sequence[Scene], pictures: Sequence[Image.Image]
) -> dict[str, float]:
    """Zero-shot accuracies and recall@1 of full captions, 0 to 1."""
    images = embedder.images(pictures)
    asked = {
        "shape": ("a photo of a {}.", SHAPES),
        "colour": ("a photo of a {} shape.", tuple(COLOURS)),
    }
    figures = {}
    for name, (template, classes) in asked.items():
        scores = images @ embedder.texts([template.format(label) for label in classes]).T
        guesses = [classes[best] for best in scores.argmax(1)]
        truths = [getattr(scene, name) for scene in scenes]
        figures[name] = float(np.mean([g == t for g, t in zip(guesses, truths, strict=True)]))
    captions = [full_caption(scene) for scene in scenes]
    return {**figures, "recall": recall(images, embedder.texts(captions), captions)}


def recall(images: FloatArray, texts: FloatArray, captions: Sequence[str]) -> float:
    """How often a picture finds its own caption first, in every whole group of `AMONG`."""
    hits = []
    for start in range(0, len(captions) - AMONG + 1, AMONG):
        own = captions[start : start + AMONG]
        best = (images[start : start + AMONG] @ texts[start : start + AMONG].T).argmax(1)
        hits += [own[found] == caption for found, caption in zip(best, own, strict=True)]
    return float(np.mean(hits))


def measure_teaching(embedder: Embedder, each: int, seed: int = SEED) -> dict[str, float]:
    """Nearest class mean from a few examples: the share of each shape's pictures that it finds.

    All shapes are in play, those that the training never saw among them.
    """
    generator = random.Random(seed)
    means = unit(
        np.stack(
            [embedder.images(drawings(name, EXAMPLES, generator)).mean(0) for name in OUTLINES]
        )
    )
    found = {}
    for index, name in enumerate(OUTLINES):
        nearest = (embedder.images(drawings(name, each, generator)) @ means.T).argmax(1)
        found[name] = float((nearest == index).mean())
    return found


def drawings(shape: str, count: int, generator: random.Random) -> list[Image.Image]:
    return [draw(random_scene(generator, [shape]), generator) for _ in range(count)]


def main(folder: Path, pictures: int = 2048, seed: int = SEED) -> None:
    embedder = Embedder(folder)
    generator = random.Random(seed)
    scenes = [random_scene(generator) for _ in range(pictures)]
    kinds = {
        "square, 128 pixels": [draw(scene, generator) for scene in scenes],
        "64 to 320 pixels, any proportion, some JPEG": [
            draw_as_found(scene, generator, (64, 320)) for scene in scenes
        ],
    }
    for kind, images in kinds.items():
        figures = measure(embedder, scenes, images)
        print(kind, *(f"{name} {value:.1%}" for name, value in figures.items()), sep="  ")
    taught = measure_teaching(embedder, pictures // len(OUTLINES), seed)
    print(f"nearest mean of {EXAMPLES} examples  {np.mean(list(taught.values())):.1%}")
    print("  ".join(f"{shape} {value:.0%}" for shape, value in taught.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
