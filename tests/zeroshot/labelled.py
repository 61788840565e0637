"""Labelled images for a stand-in encoder, which sees the words of a file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.zeroshot.stand_in import StandInEncoder
from zeroshot.assessment import evaluate_images
from zeroshot.evaluation import ImageEvaluation
from zeroshot.labelled_images import LabelledImages, read_labelled_images
from zeroshot.options import EvaluateOptions

EASY = {"cat": ["cat 1", "cat 2", "cat 3"], "dog": ["dog 1", "dog 2"], "fire truck": ["fire truck"]}
MIXED = {
    "cat": ["cat 1", "cat 2", "dog 9", "violet quark"],
    "dog": ["dog 1", "dog 2", "poodle 1", "poodle 2", "poodle 3"],
    "bird": ["bird 1", "sparrow 1"],
}
# The stand-in sees the words of a file's name: these say nothing of the class.
EXAMPLES = {
    "red_bird": ["a robin", "robin with berries", "robin on snow", "robin singing"],
    "big-cat": ["a lion", "lion in grass", "lion asleep", "old lion"],
    "whale": ["whale jumping", "grey whale", "whale and calf", "whale tail"],
}
BARE = EvaluateOptions(compare=("{}",))


def touched(folder: Path, classes: dict[str, list[str]]) -> Path:
    for name, stems in classes.items():
        (folder / name).mkdir(parents=True)
        for stem in stems:
            (folder / name / f"{stem}.jpg").touch()
    return folder


def collection(folder: Path, classes: dict[str, list[str]]) -> LabelledImages:
    return read_labelled_images(touched(folder, classes))


def many(images: int, num_classes: int = 3) -> dict[str, list[str]]:
    """Every third image shows what its class does not say."""
    return {
        f"class{n}": [f"class{n if i % 3 else n + 1} {i}" for i in range(images)]
        for n in range(num_classes)
    }


def evaluate(
    images: LabelledImages,
    options: EvaluateOptions = BARE,
    bias: float | None = None,
    taught: Any = None,
) -> ImageEvaluation:
    encoder = StandInEncoder(logit_bias=bias, logit_scale=30.0)
    return evaluate_images(encoder, images, options, taught)
