"""The images of a fine-tuning: read once, split once, never the same file on two sides."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from footwork.errors import ConfigError, DataError
from footwork.evaluation.splits import hold_out, return_unseen, strata
from footwork.files.paths import path_text
from footwork.files.plain_files import content_of
from footwork.finetuning.task import SPLITS, InputData, Inputs
from footwork.images.finding import is_folder, is_visible
from footwork.tables.labels import (
    MULTI_LABEL,
    SINGLE_LABEL,
    Fault,
    LabelKind,
    encode_targets,
    infer_kind,
    label_cells,
    name_classes,
    split_cell,
)
from zeroshot.config import FinetuneConfig
from zeroshot.labelled_images import (
    LabelledImages,
    SkippedImage,
    read_image_table,
    read_labelled_images,
)

_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Split → what a sub-folder of it may be called."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """The images of one split as they were found, with the names of their labels."""

    paths: tuple[Path, ...]
    labels: list[list[str]]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[SkippedImage, ...]
    task: str = SINGLE_LABEL


def read_images(source: Path, config: FinetuneConfig) -> InputData:
    """Find the images of every split; none is decoded.

    Args:
        source: As for `finetune`.
        config: Says how labels are read and what is held out.

    Raises:
        DataError: There is nothing to learn from.
    """
    parts = {name: read_part(path, config) for name, path in _split_folders(source).items()}
    train = parts["train"]
    splits: dict[str, Inputs] = {}
    for name, part in parts.items():
        unknown = [label for label in part.class_names if label not in train.class_names]
        if unknown or part.task != train.task:
            what = f"the class {unknown[0]!r}" if unknown else "another number of labels an image"
            raise DataError(
                f"{source / name} has {what}, which the training images lack. Add it there, or "
                "remove it."
            )
        splits[name] = Inputs(
            part.paths, encode_targets(part.labels, train.class_names, train.task)
        )
    # SHA-256 of a file; of its name where it cannot be read: decoding will say why.
    digests = {
        path: content_of(path) or f"unreadable {path}"
        for part in splits.values()
        for path in part.inputs
    }
    notes = [note for part in parts.values() for note in part.notes]
    held_out = "validation" not in splits
    if held_out:
        every = splits["train"]
        _, groups = np.unique([digests[path] for path in every.inputs], return_inverse=True)
        groups = groups.astype(np.int64)
        classes = strata(every.targets, train.task)
        held = hold_out(groups, classes, config.validation_share, config.seed)
        if train.task == MULTI_LABEL:
            held = return_unseen(held, groups, every.targets, train.task)
        splits |= {"train": every.take(~held), "validation": every.take(held)}
    known = {digests[path] for path in splits["train"].inputs}
    total = hashlib.sha256()
    for name, split in sorted(splits.items()):
        again = sum(digests[path] in known for path in split.inputs)
        if name != "train" and again:
            notes.append(
                f"{again} of the {len(split)} {name} images are among the training images too: "
                "the figures are better than the classifier."
            )
        for path, target in zip(split.inputs, split.targets.tolist(), strict=True):
            label = target if train.task == MULTI_LABEL else train.class_names[target]
            total.update(os.fsencode(f"{name}\0{label}\0{digests[path]}\n"))
    data = InputData(
        task=train.task,
        labels=train.class_names,
        splits={name: splits[name] for name in SPLITS if name in splits},
        held_out=held_out,
        sha256=total.hexdigest(),
        notes=tuple(notes),
        skipped=tuple(skipped for part in parts.values() for skipped in part.skipped),
    )
    _require_usable(data)
    return data


def _split_folders(source: Path) -> dict[str, Path]:
    """Split → its folder; all of `source` is `train` where its sub-folders are classes."""
    below = (
        [entry for entry in source.iterdir() if is_visible(entry.name) and is_folder(entry)]
        if source.is_dir()
        else []
    )
    split_of = {name: split for split, names in _FOLDERS.items() for name in names}
    named = {entry: split_of.get(entry.name.lower()) for entry in below}
    if not below or None in named.values():
        return {"train": source}
    folders: dict[str, Path] = {}
    for entry, split in named.items():
        if split in folders:
            raise DataError(f"{folders[split]} and {entry} are the same split. Remove one.")
        folders[str(split)] = entry
    if "train" not in folders:
        raise DataError(f"{source} has no sub-folder `train` to learn from.")
    return folders


def read_part(source: Path, config: FinetuneConfig) -> ImagePart:
    """The images of a folder or a table; of a table they may have several labels each."""
    if source.is_file():
        part = _read_several(source, config)
        if part is not None:
            return part
    if config.task == "multi" or config.label_column or config.label_separator:
        raise ConfigError(
            "Only a table says which images have several labels (`task`, `label_column`, "
            f"`label_separator`), and {source} is a folder. Name a table, or leave them out."
        )
    images: LabelledImages = read_labelled_images(source)
    labels = [[images.class_names[target]] for target in images.targets.tolist()]
    return ImagePart(images.paths, labels, images.class_names, images.notes, images.skipped)


def _read_several(path: Path, config: FinetuneConfig) -> ImagePart | None:
    """A table of images with any number of labels each; None for one label each."""
    columns = tuple(filter(None, (config.label_column or "").split(",")))
    table, places, labels = read_image_table(path, columns)
    cells = label_cells(labels)
    stated = config.task == "multi" or config.label_column or config.label_separator
    lists = any(isinstance(cell, list) for cell in cells)
    if not stated and (config.task == "single" or not lists):
        return None
    names = columns if len(columns) > 1 else ()
    kind: LabelKind = infer_kind(cells, table, config.task, config.label_separator, names)
    if kind.task not in (MULTI_LABEL, SINGLE_LABEL):
        raise DataError(f"The labels of {path} are amounts. Images are told apart by classes.")
    skipped = [SkippedImage(f"{path}, row {row.row}", row.reason) for row in table.skipped]
    chosen: dict[Path, list[str]] = {}
    for row, place, cell in zip(table.rows, places, cells, strict=True):
        found = split_cell(cell, kind)
        if place is None or isinstance(found, Fault):
            reason = found.reason if isinstance(found, Fault) else "it names no image file"
        elif chosen.setdefault(place, found) == found:
            continue
        else:
            reason = f"{place.name} has other labels already"
        skipped.append(SkippedImage(f"{path}, row {row}", reason))
    if not chosen:
        raise DataError(f"{path} names no image with labels: {skipped[0].reason}.")
    class_names, gaps = (
        (kind.vector, ())
        if kind.vector
        else name_classes(label for several in chosen.values() for label in several)
    )
    return ImagePart(
        paths=tuple(chosen),
        labels=list(chosen.values()),
        class_names=class_names,
        notes=(*kind.notes, *gaps),
        skipped=tuple(skipped),
        task=kind.task,
    )


def _require_usable(data: InputData) -> None:
    """Refuse what cannot be learned from or judged by.

    Raises:
        DataError: A class is without a training image, or a split without any.
    """
    why = f" {data.skipped[0].place}: {data.skipped[0].reason}." if data.skipped else ""
    for name, part in data.splits.items():
        if not len(part):
            raise DataError(f"No image of the {name} split is left.{why}")
    if len(data.labels) < 2 and data.task == SINGLE_LABEL:
        raise DataError(f"All images are of one class, {data.labels[0]!r}: add others.")
    targets = data.splits["train"].targets
    single = data.task == SINGLE_LABEL
    counts = np.bincount(targets, minlength=len(data.labels)) if single else targets.sum(axis=0)
    for number in np.flatnonzero(counts == 0).tolist():
        raise DataError(
            f"The class {data.labels[number]!r} has no image to train on.{why} "
            "Add images to it, or remove it."
        )


def readable(data: InputData, faults: dict[Path, str]) -> InputData:
    """Without the files that ended as no image."""
    splits = {
        name: part.take(np.array([path not in faults for path in part.inputs], dtype=bool))
        for name, part in data.splits.items()
    }
    lost = tuple(SkippedImage(path_text(path), reason) for path, reason in faults.items())
    kept = replace(data, splits=splits, skipped=(*data.skipped, *lost))
    _require_usable(kept)
    return kept
