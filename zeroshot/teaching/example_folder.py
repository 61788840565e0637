"""Examples on disk: a folder with a sub-folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.class_names import class_name
from runtime.errors import DataError
from runtime.images.files import find_images, has_image_ending
from runtime.images.listing import is_folder, is_visible, natural_key, why_missing
from zeroshot.teaching.words import spoken

_LAYOUT = "Examples stand in one sub-folder a class: FOLDER/cat/1.jpg, FOLDER/dog/2.jpg."
_MEANS_NO_CLASS = frozenset({"none", "none of these", "none of them", "no label"})


@dataclass(frozen=True, slots=True)
class ExampleFiles:
    """Image files with their classes."""

    folder: Path
    class_names: tuple[str, ...]
    """C names of sub-folders, naturally sorted."""
    paths: tuple[Path, ...]
    """N files."""
    labels: NDArray[np.int64]
    """Shape (N,), class numbers."""
    notes: tuple[str, ...]
    """What was passed over, one sentence each."""


def read_examples(folder: Path) -> ExampleFiles:
    """List the images of each class; nothing is decoded.

    Args:
        folder: Each of its sub-folders is a class; what lies deeper belongs to it.

    Raises:
        DataError: The folder is missing, holds fewer than two classes, a class holds no image, or
            class names cannot be told apart.
    """
    fault = why_missing(folder)
    if fault is not None or not is_folder(folder):
        raise DataError(f"Cannot read examples in {folder}: {fault or 'it is a file'}. {_LAYOUT}")
    entries = sorted(
        (e for e in folder.iterdir() if is_visible(e.name)), key=lambda e: natural_key(e.name)
    )
    classes = [entry for entry in entries if is_folder(entry)]
    loose = [entry.name for entry in entries if entry not in classes]
    loose = [name for name in loose if has_image_ending(name)]
    names = tuple(class_name(entry.name) for entry in classes)
    _require_classes(folder, names, loose)
    notes = [f"{len(loose)} images beside the class folders belong to no class."] if loose else []
    paths: list[Path] = []
    labels: list[int] = []
    for number, entry in enumerate(classes):
        try:
            found = find_images([entry])
        except DataError as error:
            raise DataError(
                f"The class {entry.name!r} is empty. {error} Add images to it, or remove it."
            ) from error
        paths.extend(found.paths)
        labels.extend([number] * len(found.paths))
        notes.extend(found.notes)
    numbers = np.array(labels, dtype=np.int64)
    return ExampleFiles(folder, names, tuple(paths), numbers, tuple(notes))


def _require_classes(folder: Path, names: Sequence[str], loose: list[str]) -> None:
    if not names:
        held = f"{len(loose)} images but no sub-folder" if loose else "no image"
        raise DataError(f"{folder} holds {held}. {_LAYOUT}")
    if len(names) == 1:
        raise DataError(
            f"{folder} holds one class, {names[0]!r}: there is nothing to tell it from. {_LAYOUT}"
        )
    read: dict[str, str] = {}
    for name in names:
        said = spoken(name).casefold()
        if said in _MEANS_NO_CLASS:
            raise DataError(
                f"The class {name!r} reads like the answer for images of no class. Rename the "
                "folder by what it shows, background for one, or remove it."
            )
        if not said:
            raise DataError(f"The class {name!r} has no word in its name. Rename the folder.")
        if said in read:
            raise DataError(f"The classes {read[said]!r} and {name!r} read the same. Rename one.")
        read[said] = name
