"""Labels in sidecar files beside the images, where photo programs read them.

The sidecar of photo.jpg is photo.jpg.xmp, as digiKam and darktable name it; Immich reads it before
photo.xmp. Lightroom and others leave the ending out, so that photo.jpg and photo.raw share a
photo.xmp: one that is there is taken for photo.jpg's if nothing else is called `photo`. (Lightroom
reads sidecars of raw files only; of a JPEG it reads what stands in the file itself, which is not
touched here.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from runtime.errors import DataError
from runtime.faults import why
from runtime.folders import published_file
from runtime.images.files import has_image_ending
from runtime.paths import path_line
from zeroshot.xmp import XmpPacket

_ENDING = ".xmp"


class LabelledFile(Protocol):
    """What a sidecar says of an image: `zeroshot.classifier.LabelledImage` does."""

    @property
    def path(self) -> Path | None:
        """Where the image stands."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All that are given, the best first."""

    @property
    def fault(self) -> str | None:
        """Why it cannot be read, and its sidecar stays as it is."""


@dataclass(frozen=True, slots=True)
class SidecarOutcome:
    """What came of writing sidecars."""

    written: int
    """Images whose sidecar says what their labels are."""
    failed: tuple[str, ...]
    """What could not be written and why, one sentence each."""


def write_sidecars(labelled: Iterable[LabelledFile]) -> SidecarOutcome:
    """Write the labels of each image into its sidecar; those that cannot be written are listed.

    Where files are sorted as well, sidecars come first, and go along.
    """
    written, failed = 0, []
    for row in labelled:
        if row.path is None or row.fault is not None:
            continue
        try:
            if not os.path.lexists(row.path):  # an index may know it longer than the disk does
                failed.append(f"{path_line(row.path)} gets no sidecar: no such file.")
                continue
            written += write_sidecar(row.path, row.labels) is not None
        except DataError as error:
            failed.append(str(error))
        except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
            failed.append(f"{path_line(row.path)} gets no sidecar: {why(error)}.")
    return SidecarOutcome(written, tuple(failed))


def write_sidecar(image: Path, labels: Sequence[str]) -> Path | None:
    """Write labels as keywords into the sidecar of an image, which may not exist yet.

    Labels that were written before are replaced; other keywords, and all else in the sidecar,
    stay. A sidecar that says it already is not written again. The image is never touched.

    Args:
        image: Its file.
        labels: Printable texts; none takes out what was written before.

    Returns:
        The sidecar; None if there is none, and no label to write.

    Raises:
        DataError: The sidecar is no XMP, or cannot be read or written; it is as it was.
        ValueError: A label cannot be printed.
    """
    for label in labels:
        if not label or not label.isprintable():
            raise ValueError(f"A label must be printable text, got {label!r}.")
    standing = next(iter(sidecars_of(image)), None)
    if standing is None and not labels:
        return None
    path = standing or image.with_name(f"{image.name}{_ENDING}")
    try:
        packet = XmpPacket() if standing is None else XmpPacket(path.read_bytes())
        before = packet.to_bytes()
        packet.set_labels(labels)
        if (content := packet.to_bytes()) != before:
            with published_file(path) as sibling:
                sibling.write_bytes(content)
    except OSError as error:
        raise DataError(f"Cannot write {path_line(path)}: {why(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path_line(path)} is left as it is, since it cannot be read as XMP: {error}. Mend or "
            "remove it."
        ) from error
    return path


def sidecars_of(image: Path) -> tuple[Path, ...]:
    """The sidecars that are an image's own; the first one says what its labels are."""
    full, short = image.with_name(f"{image.name}{_ENDING}"), image.with_suffix(_ENDING)
    # `os.path` takes a name that is too long for one that is not there.
    found = (full,) if os.path.isfile(full) else ()  # noqa: PTH113
    is_there = os.path.isfile(short)  # noqa: PTH113
    return (*found, short) if is_there and _stand_alone(image, short) else found


def sidecar_beside(target: Path, image: Path, sidecar: Path | None) -> Path:
    """Where a sidecar goes when its image goes to `target`; the first of its two names for None."""
    full = sidecar is None or sidecar.name == f"{image.name}{_ENDING}"
    return target.with_name(f"{target.name}{_ENDING}") if full else target.with_suffix(_ENDING)


def companions_of(image: Path, beside: Iterable[str]) -> tuple[Path, ...]:
    """Files that belong to an image by their names, no images and none of its own sidecars.

    Such are the video of a live photo, its raw file, and what programs noted of it: IMG_1.mov,
    IMG_1.cr2, IMG_1.aae and IMG_1.jpg.json of IMG_1.jpg.

    Args:
        image: Its file.
        beside: Names of files in its folder whose first part, up to a dot, is that of its name.
    """
    own = sidecars_of(image)
    companions = (
        image.with_name(name)
        for name in beside
        if not has_image_ending(name)
        and (PurePath(name).stem == image.stem or name.startswith(f"{image.name}."))
    )
    return tuple(one for one in companions if one not in own and one != image)


def _stand_alone(image: Path, sidecar: Path) -> bool:
    with suppress(OSError), os.scandir(image.parent) as entries:
        alike = {entry.name for entry in entries if PurePath(entry.name).stem == image.stem}
        return alike <= {image.name, sidecar.name}
    return False
