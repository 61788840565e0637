"""What sorting would do, a value to look at before anything is done; and the doing of it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from footwork.errors import ConfigError, DataError
from footwork.files.faults import Fault, counted, fault_lines, first_lines, shortened, why
from footwork.files.paths import path_line, shell_word
from footwork.files.placing import (
    How,
    TargetFolder,
    are_identical,
    name_key,
    part_name,
    place_file,
    take_back,
)
from footwork.files.plain_files import content_hash
from footwork.images.ahead import DISK_READERS, decoded_ahead
from footwork.images.finding import is_visible
from zeroshot.sorting.record import (
    FILE_NAME,
    SortedFile,
    Step,
    UndoRecord,
    mount_of,
    opened_record,
    recorded_copies,
)
from zeroshot.sorting.sidecars import companions_of, names_beside, sidecar_beside, sidecars_of

if TYPE_CHECKING:
    from zeroshot.rows import LabelledImage

NONE_FOLDER = "none of these"
"""Holds the images that got no label."""
_LONGEST = 100  # bytes; names may have 255, and Windows wants whole paths below 260
_FORBIDDEN = frozenset('\\/:*?"<>|')
# Devices of Windows, with whatever ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
_LISTED = 10  # files that the text names, of each kind
_BLOCK = 100  # images whose steps are recorded, and flushed to the disk, together
_TOLD = 1000  # images from one note to the next


def label_folders(labels: Iterable[str]) -> dict[str | None, str]:
    """The folder of each label, and of None: what `plan_sorting` will use.

    Called before anything is labelled, it tells at once that two would share one: a `ConfigError`.
    """
    names = FolderNames()
    return {label: names.of(label) for label in (None, *labels)}


class FolderNames:
    """One folder a label, and no two labels in one."""

    def __init__(self) -> None:
        self._owners: dict[str, str | None] = {}

    def of(self, label: str | None) -> str:
        """The name of its folder; a `ConfigError` if that is the folder of another label."""
        name = NONE_FOLDER if label is None else folder_name(label)
        owner = self._owners.setdefault(name_key(name), label)
        if owner != label:
            first, second = (
                "The images of no label" if one is None else f"The label {one!r}"
                for one in (owner, label)
            )
            raise ConfigError(
                f"{first} and {second} would share the folder {name!r}. Rename a label."
            )
        return name


def folder_name(label: str) -> str:
    """A label as the name of a visible folder on Linux, macOS and Windows.

    Characters that one of them forbids become `_`, long labels are cut.
    """
    fit = (c if c.isprintable() and c not in _FORBIDDEN else "_" for c in label)
    name = unicodedata.normalize("NFC", "".join(fit)).strip()
    name = name.encode()[:_LONGEST].decode(errors="ignore").rstrip(". ")
    if not name or _RESERVED.fullmatch(name) or not is_visible(name):
        return f"_{name}"
    return name


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image, where it goes, and the sidecars that go with it."""

    source: Path
    target: Path
    sidecars: tuple[Path, ...] = ()
    """Beside `source`."""
    companions: tuple[Path, ...] = ()
    """What else is called like it there, and stays."""

    def files(self) -> Iterator[tuple[Path, Path]]:
        """Source and target of each file; the image comes first."""
        yield self.source, self.target
        for sidecar in self.sidecars:
            yield sidecar, sidecar_beside(self.target, self.source, sidecar)


@dataclass(frozen=True, slots=True)
class SortingPlan:
    """All that sorting would do; `apply_plan` does it."""

    target: Path
    """The folder to sort into; its sub-folders are named after the labels."""
    how: How
    images: tuple[PlannedImage, ...]
    """In the order of the labelled images."""
    there: int = 0
    """Images whose copy stands in the folder of its label already, by an earlier run."""
    inside: int = 0
    """Images that lie in a sub-folder of `target` already, and stay there."""
    copies: int = 0
    """Images elsewhere that an earlier run made as copies, and that stay there."""
    faults: tuple[Fault, ...] = ()
    """Images that stay where they are, and why."""

    def to_text(self) -> str:
        """What would happen: counts for each folder, the first files, and what stays."""
        lines = []
        if self.images:
            counts = Counter(path_line(Path(image.target.parent.name)) for image in self.images)
            into, width = path_line(self.target), max(map(len, counts))
            lines.append(f"Would {self.how} {counted(len(self.images), 'image')} into {into}:")
            lines += [f"  {name:<{width}}  {number:>7,}" for name, number in counts.most_common()]
            if sidecars := sum(len(image.sidecars) for image in self.images):
                lines.append(f"and with them {counted(sidecars, 'sidecar')} (.xmp).")
        ways = [f"{path_line(image.source)} → {path_line(image.target)}" for image in self.images]
        lines += first_lines(ways, _LISTED)
        lines += [*_companion_lines(self.images), *self.staying()]
        done = "copied" if self.how == "copy" else "moved"
        end = f"Nothing is {done} yet: add --yes to do it."
        return "\n".join([*lines, end if self.images else "There is nothing to do."])

    def staying(self) -> Iterator[str]:
        """The images that stay, and why, as lines: whether the plan is done or not."""
        staying = {
            "stood there already, with the same content.": self.there,
            f"in sub-folders of {path_line(self.target)} stay: they count as sorted.": self.inside,
            "stay: copies that an earlier run made.": self.copies,
        }
        yield from (f"{counted(count, 'image')} {said}" for said, count in staying.items() if count)
        yield from fault_lines(self.faults, "Staying where they are")


def _companion_lines(images: Iterable[PlannedImage]) -> Iterator[str]:
    """Name the files that stay though their names are those of images that go."""
    staying = [path for image in images for path in image.companions]
    if staying:
        named = shortened(map(path_line, staying), _LISTED)
        yield f"{counted(len(staying), 'file')} of the same names stay: {named}."


def plan_sorting(labelled: Iterable[LabelledImage], target: Path, how: How) -> SortingPlan:
    """Decide for each image in which folder and under which name it goes; nothing is changed.

    An image without a label goes into `none of these`; one that cannot be read stays. With several
    labels the best decides. Sidecars (`sidecars_of`) go with their image. Names never collide: the
    second IMG_1.jpg becomes IMG_1-2.jpg, and one that stands there with the same content counts as
    done, so that a second run has nothing to do. What lies in a sub-folder of `target` stays, so
    that `target` may lie among the images, or be their folder, and is not sorted into itself.

    Args:
        labelled: Images, each once; read as they come.
        target: Folder to sort into; it need not exist.
        how: Whether images are copied or moved.

    Raises:
        ConfigError: Two labels would share a folder, or a folder cannot be sorted into.
        ValueError: An image has no path.
    """
    planner = _Planner(target, how)
    for row in labelled:
        planner.add(row)
    return SortingPlan(
        target,
        how,
        tuple(planner.images),
        there=planner.there,
        inside=planner.inside,
        copies=planner.copies,
        faults=tuple(planner.faults),
    )


class _Planner:
    """Gathers what a plan is made of."""

    def __init__(self, target: Path, how: How) -> None:
        if target.exists() and not target.is_dir():
            raise ConfigError(f"{target} is a file. Name a folder to sort into.")
        self.images: list[PlannedImage] = []
        self.faults: list[Fault] = []
        self.there = self.inside = self.copies = 0
        self._target, self._how, self._root = target, how, target.resolve()
        self._names = FolderNames()
        self._folder = cache(self._target_folder)
        self._is_inside = cache(lambda folder: self._root in folder.resolve().parents)
        self._recorded, self._beside = cache(recorded_copies), names_beside()

    def add(self, row: LabelledImage) -> None:
        """Decide on one image."""
        path, fault = row.path, row.fault
        if path is None:
            raise ValueError("An image without a path cannot be sorted.")
        try:
            if fault is None and self._how == "move" and path.is_symlink():
                fault = "it is a link, which would lead nowhere: copy it, or move what it leads to"
            if fault is not None:
                self.faults.append(Fault(path, fault))
            elif self._is_inside(path.parent):
                self.inside += 1
            # The folders of labels are below that of a record.
            elif (full := Path(os.path.abspath(path))) in self._recorded(full.parent.parent):  # noqa: PTH100
                self.copies += 1
            else:
                self._place(path, self._folder(row.label))
        except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
            self.faults.append(Fault(path, why(error)))

    def _place(self, path: Path, folder: TargetFolder) -> None:
        beside = self._beside(path)
        sidecars = sidecars_of(path, beside)
        if there := folder.copy_of(path):
            self.there += 1
            for own in sidecars:
                copy = sidecar_beside(there, path, own)
                if not (os.path.lexists(copy) and are_identical(own, copy)):
                    reason = f"its sidecar {path_line(own.name)} is not beside the copy: copy it to"
                    self.faults.append(Fault(path, f"{reason} {path_line(copy)}"))
            if self._how == "move":  # as one that a kill has left in both places
                reason = f"the same stands at {path_line(there)}; remove this one, or undo the move"
                self.faults.append(Fault(path, reason))
            return
        # A place has to be free even where there is none: the image must not come to one that
        # belongs to another.
        target = folder.place(
            path,
            lambda target: [sidecar_beside(target, path, own) for own in sidecars or (None,)],
        )
        companions = companions_of(path, beside, sidecars)
        self.images.append(PlannedImage(path, target, sidecars, companions))

    def _target_folder(self, label: str | None) -> TargetFolder:
        folder = self._target / self._names.of(label)
        if folder.is_symlink():
            raise ConfigError(
                f"{path_line(folder)} is a link, and what it leads to is no part of the folder to "
                "sort into. Remove the link, or name another folder."
            )
        return TargetFolder(folder)


@dataclass(frozen=True, slots=True)
class SortingOutcome:
    """What came of a plan."""

    failed: tuple[Fault, ...]
    """Files that were left where they are, and why."""
    how: How
    undo_file: Path | None
    """None if there was nothing to do."""
    placed: tuple[PlannedImage, ...] = ()
    """The images that stand at their target."""

    @property
    def done(self) -> int:
        """How many these are."""
        return len(self.placed)

    def to_text(self) -> str:
        """What was done, what was not, and how it is undone."""
        verb = "copied" if self.how == "copy" else "moved"
        lines = [f"{counted(self.done, 'image')} {verb}."]
        lines += fault_lines(self.failed, f"Not {verb}")
        lines += _companion_lines(self.placed)
        if self.undo_file is not None:
            command = f"footwork zeroshot undo {shell_word(self.undo_file)}"
            lines.append(f"To put everything back: {command}")
        return "\n".join(lines)


def apply_plan(plan: SortingPlan, notify: Callable[[str], None] | None = None) -> SortingOutcome:
    """Copy or move each file of a plan, each wholly or not at all.

    What cannot be done is listed, and the others go on. Before anything is done it is recorded in
    `footwork-undo.jsonl` of the target folder: whenever this ends, be it by a kill, `undo_sorting`
    puts everything back. (A kill before the first file may leave the target folder, empty.)

    Raises:
        ConfigError: Another process sorts into the same folder.
        DataError: The target folder, or the undo file in it, cannot be written.
    """
    if not plan.images:
        return SortingOutcome((), plan.how, None)
    absolute = plan.target.absolute()
    made = [path for path in (absolute, *absolute.parents) if not path.exists()]
    try:
        plan.target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Cannot make the folder {path_line(plan.target)}: {why(error)}."
        ) from error
    with opened_record(plan.target / FILE_NAME) as record:
        try:
            record.write(Step("folder", os.path.relpath(path, plan.target)) for path in made[::-1])
        except OSError as error:
            raise DataError(f"Cannot write {path_line(record.path)}: {why(error)}.") from error
        execution = _Execution(plan, record)
        for start in range(0, len(plan.images), _BLOCK):
            if notify is not None and start and start % _TOLD == 0:
                notify(f"{start:,} of {len(plan.images):,} images")
            execution.run(plan.images[start : start + _BLOCK])
    return SortingOutcome(tuple(execution.failed), plan.how, record.path, tuple(execution.placed))


class _Execution:
    """Does a plan block by block."""

    def __init__(self, plan: SortingPlan, record: UndoRecord) -> None:
        self.placed: list[PlannedImage] = []
        self.failed: list[Fault] = []
        self._plan, self._record = plan, record
        self._folders: set[Path] = set()

    def run(self, images: Sequence[PlannedImage]) -> None:
        """Record the steps of some images, then do them."""
        steps = {}
        for image, files in decoded_ahead(images, self._sorted_files, DISK_READERS):
            if isinstance(files, tuple):
                steps[image] = files
            else:
                self.failed.append(Fault(image.source, files.reason))
        try:
            self._record.write(self._steps(steps))
        except OSError as error:
            reason = f"the undo file cannot be written: {why(error)}"
            self.failed += [Fault(image.source, reason) for image in steps]
            return
        for image, files in steps.items():
            fault = self._place(image.target.parent, files)
            if fault is None:
                self.placed.append(image)
            else:
                self.failed.append(fault)

    def _sorted_files(self, image: PlannedImage) -> tuple[SortedFile, ...]:
        """What the record says of an image and its sidecars, whose bytes are read."""
        files = []
        for source, target in image.files():
            place = target.relative_to(self._plan.target).as_posix()
            folder = os.path.realpath(source.parent)
            absolute, sha256 = os.path.join(folder, source.name), content_hash(source)  # noqa: PTH118
            files.append(SortedFile(absolute, place, sha256, part_name(), mount_of(folder)))
        return tuple(files)

    def _steps(self, steps: dict[PlannedImage, tuple[SortedFile, ...]]) -> Iterator[Step]:
        for image, files in steps.items():
            folder = image.target.parent
            if folder not in self._folders and not folder.exists():
                yield Step("folder", folder.name)
            self._folders.add(folder)
            yield Step(self._plan.how, files=files)

    def _place(self, folder: Path, files: Sequence[SortedFile]) -> Fault | None:
        """Place an image and its sidecars: all of them, or none."""
        done: list[tuple[Path, Path]] = []
        for file in files:
            source, target = Path(file.source), self._plan.target / file.target
            try:
                folder.mkdir(exist_ok=True)
                place_file(source, target, self._plan.how, file.part)
            except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
                for placed, origin in reversed(done):
                    with suppress(OSError):  # the undo file knows of it
                        take_back(placed, origin, self._plan.how)
                return Fault(source, why(error))
            done.append((target, source))
        return None
