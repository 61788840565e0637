"""The images of a fine-tuning: read once, split once, never the same file on two sides."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from footwork.errors import DataError
from footwork.evaluation.splits import hold_out
from footwork.files.paths import path_text
from footwork.files.plain_files import content_of
from footwork.images.finding import is_folder, is_visible
from zeroshot.labelled_images import LabelledImages, SkippedImage, read_labelled_images

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Split → what a sub-folder of it may be called."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSplit:
    """N images of one split."""

    paths: tuple[Path, ...]
    targets: NDArray[np.int64]
    """Shape (N,), class numbers."""

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, kept: NDArray[np.generic]) -> ImageSplit:
        """Some of them, by number or by True and False."""
        rows = np.arange(len(self))[kept].tolist()
        return ImageSplit(tuple(self.paths[row] for row in rows), self.targets[rows])


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneImages:
    """All splits."""

    source: str
    labels: tuple[str, ...]
    """C class names."""
    splits: dict[str, ImageSplit]
    """`train`, `validation` and perhaps `test`."""
    held_out: bool
    """Whether the validation images were taken from the training ones."""
    sha256: str
    """Of all files and their labels."""
    notes: tuple[str, ...]
    skipped: tuple[SkippedImage, ...]

    @property
    def reported(self) -> str:
        """The split that is judged in the end."""
        return "test" if "test" in self.splits else "validation"

    def readable(self, faults: dict[Path, str]) -> FinetuneImages:
        """Without the files that ended as no image.

        Args:
            faults: Why, by path.

        Raises:
            DataError: A class is left without a training image, or a split without any.
        """
        splits = {
            name: part.take(np.array([path not in faults for path in part.paths], dtype=bool))
            for name, part in self.splits.items()
        }
        lost = tuple(SkippedImage(path_text(path), reason) for path, reason in faults.items())
        found = replace(self, splits=splits, skipped=(*self.skipped, *lost))
        found.require_usable()
        return found

    def require_usable(self) -> None:
        """Refuse what cannot be learned from or judged by.

        Raises:
            DataError: A class is without a training image, or a split without any.
        """
        why = f" {self.skipped[0].place}: {self.skipped[0].reason}." if self.skipped else ""
        for name, part in self.splits.items():
            if not len(part):
                raise DataError(f"No image of the {name} split of {self.source} is left.{why}")
        counts = np.bincount(self.splits["train"].targets, minlength=len(self.labels))
        for number in np.flatnonzero(counts == 0).tolist():
            raise DataError(
                f"The class {self.labels[number]!r} has no image to train on.{why} "
                "Add images to it, or remove it."
            )


def read_finetune_images(source: Path, share: float, seed: int) -> FinetuneImages:
    """Find the images of every split; none is decoded.

    Args:
        source: A folder with one sub-folder a class, a table of paths and labels, or a folder with
            such folders named `train`, `validation` and `test` (the last two are optional).
        share: Of the training images to hold out where there is no validation part.
        seed: The same gives the same images.

    Raises:
        DataError: There is nothing to learn from.
    """
    parts = {name: read_labelled_images(path) for name, path in _split_folders(source).items()}
    labels = parts["train"].class_names
    splits = {name: _as_split(part, labels) for name, part in parts.items()}
    digests = {path: _digest(path) for part in splits.values() for path in part.paths}
    held_out = "validation" not in splits
    notes = [note for part in parts.values() for note in part.notes]
    if held_out:
        splits = _held_out(splits, digests, share, seed)
    else:
        notes += _overlap_notes(splits, digests)
    found = FinetuneImages(
        source=str(source),
        labels=labels,
        splits={name: splits[name] for name in SPLITS if name in splits},
        held_out=held_out,
        sha256=_hash_of(splits, digests, labels),
        notes=tuple(notes),
        skipped=tuple(one for part in parts.values() for one in part.skipped),
    )
    found.require_usable()
    return found


def _split_folders(source: Path) -> dict[str, Path]:
    """Split → its folder; all of `source` is `train` where its sub-folders are classes."""
    below = (
        [entry for entry in source.iterdir() if is_visible(entry.name) and is_folder(entry)]
        if source.is_dir()
        else []
    )
    split_of = {name: split for split, names in SPLITS.items() for name in names}
    named = {entry: split_of.get(entry.name.lower()) for entry in below}
    if not below or None in named.values():
        return {"train": source}
    found: dict[str, Path] = {}
    for entry, split in named.items():
        if split in found:
            raise DataError(f"{found[split]} and {entry} are the same split. Remove one.")
        found[str(split)] = entry
    if "train" not in found:
        raise DataError(f"{source} has no sub-folder `train` to learn from.")
    return found


def _as_split(part: LabelledImages, labels: tuple[str, ...]) -> ImageSplit:
    numbers = {label: number for number, label in enumerate(labels)}
    unknown = [name for name in part.class_names if name not in numbers]
    if unknown:
        raise DataError(
            f"{part.source} has the class {unknown[0]!r}, which the training images lack. "
            "Add it there, or remove it."
        )
    order = np.array([numbers[name] for name in part.class_names], dtype=np.int64)
    return ImageSplit(part.paths, order[part.targets])


def _held_out(
    splits: dict[str, ImageSplit], digests: dict[Path, str], share: float, seed: int
) -> dict[str, ImageSplit]:
    train = splits["train"]
    _, groups = np.unique([digests[path] for path in train.paths], return_inverse=True)
    held = hold_out(groups.astype(np.int64), train.targets, share, seed)
    return splits | {"train": train.take(~held), "validation": train.take(held)}


def _overlap_notes(splits: dict[str, ImageSplit], digests: dict[Path, str]) -> list[str]:
    known = {digests[path] for path in splits["train"].paths}
    notes = []
    for name, part in splits.items():
        again = sum(digests[path] in known for path in part.paths)
        if name != "train" and again:
            notes.append(
                f"{again} of the {len(part)} {name} images are among the training images too: "
                "the figures are better than the classifier."
            )
    return notes


def _hash_of(
    splits: dict[str, ImageSplit], digests: dict[Path, str], labels: tuple[str, ...]
) -> str:
    total = hashlib.sha256()
    for name, part in sorted(splits.items()):
        for path, target in zip(part.paths, part.targets.tolist(), strict=True):
            total.update(os.fsencode(f"{name}\0{labels[target]}\0{digests[path]}\n"))
    return total.hexdigest()


def _digest(path: Path) -> str:
    """SHA-256 of a file; of its name where it cannot be read: decoding will say why."""
    return content_of(path) or f"unreadable {path}"
