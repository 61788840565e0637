"""Copies of what was found, in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from footwork.errors import ImageError
from footwork.files.faults import Fault, counted, fault_lines, why
from footwork.files.outputs import unusable
from footwork.files.paths import path_text
from footwork.files.placing import TargetFolder, place_file
from footwork.images.ahead import DISK_READERS, decoded_ahead
from footwork.images.decoding import require_image
from search.answers.answer import Hit


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """What came of copying."""

    folder: Path
    copied: tuple[tuple[Path, Path], ...]
    """Source and target, the best hit first."""
    there: int
    """Images that stood in the folder already, byte for byte."""
    failed: tuple[Fault, ...]

    def to_text(self) -> str:
        """What was copied, and what was not."""
        said = f"{counted(len(self.copied), 'image')} copied to {path_text(self.folder)}"
        said += f"; {self.there:,} stood there already." if self.there else "."
        return "\n".join([said, *fault_lines(self.failed, "Not copied")])


def copy_hits(hits: Iterable[Hit], folder: Path) -> CopyOutcome:
    """Copy images into a folder, under their own names; times and permissions come along.

    Nothing is ever overwritten: the second IMG_1.jpg becomes IMG_1-2.jpg, and one that stands
    there with the same content counts as done, as does one that lies in the folder itself, such as
    an earlier copy that was indexed. Each is copied wholly or not at all, and once, however many
    queries found it. A file that does not decode as an image is not copied, whatever an index says
    of it. `ConfigError` where the folder is a file, or cannot be listed; `DataError` where it
    cannot be made.
    """
    target_folder = TargetFolder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, why(error)) from error
    copied: list[tuple[Path, Path]] = []
    missing = {Path(hit.record.path): hit.missing for hit in hits}
    failed = [Fault(path, reason) for path, reason in missing.items() if reason is not None]
    # Others may never answer.
    sources = [path for path, reason in missing.items() if reason is None]
    outside = [path for path in sources if path.parent.resolve() != folder.resolve()]
    there = len(sources) - len(outside)
    for source, picture in decoded_ahead(outside, require_image, DISK_READERS):
        if isinstance(picture, ImageError):
            failed.append(Fault(source, picture.reason))
            continue
        try:
            if target_folder.copy_of(source):
                there += 1
            else:
                target = target_folder.place(source)
                place_file(source, target, "copy")
                copied.append((source, target))
        except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
            failed.append(Fault(source, why(error)))
    return CopyOutcome(folder, tuple(copied), there, tuple(failed))
