"""Do what a plan says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from footwork.errors import DataError
from footwork.files.faults import Fault, counted, fault_lines, why
from footwork.files.paths import path_line, shell_word
from footwork.files.placing import How, part_name, place_file, take_back
from footwork.files.plain_files import content_hash
from footwork.images.ahead import DISK_READERS, decoded_ahead
from zeroshot.sorting.plan import PlannedImage, SortingPlan, companion_lines
from zeroshot.sorting.record import FILE_NAME, SortedFile, Step, UndoRecord, opened_record

_BLOCK = 100  # images whose steps are recorded, and flushed to the disk, together
_TOLD = 1000  # images from one note to the next


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
        lines += companion_lines(self.placed)
        if self.undo_file is not None:
            command = f"footwork zeroshot undo {shell_word(self.undo_file)}"
            lines.append(f"To put everything back: {command}")
        return "\n".join(lines)


def apply_plan(plan: SortingPlan, notify: Callable[[str], None] | None = None) -> SortingOutcome:
    """Copy or move each file of a plan, each wholly or not at all.

    What cannot be done is listed, and the others go on. Before anything is done it is recorded in
    `footwork-undo.jsonl` of the target folder: whenever this ends, be it by a kill, `undo_sorting`
    puts everything back. (A kill before the first file may leave the target folder, empty.)

    Args:
        plan: Of `plan_sorting`.
        notify: Told now and then how far it is.

    Raises:
        ConfigError: Another process sorts into the same folder.
        DataError: The target folder, or the undo file in it, cannot be written.
    """
    if not plan.images:
        return SortingOutcome((), plan.how, None)
    made = _make_root(plan.target)
    with opened_record(plan.target / FILE_NAME) as record:
        try:
            record.write(Step("folder", os.path.relpath(path, plan.target)) for path in made)
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
        found = []
        for source, target in image.files():
            place = target.relative_to(self._plan.target).as_posix()
            absolute = os.path.join(os.path.realpath(source.parent), source.name)  # noqa: PTH118
            found.append(SortedFile(absolute, place, content_hash(source), part_name()))
        return tuple(found)

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


def _make_root(target: Path) -> list[Path]:
    """Make the target folder; gives what did not exist, the outermost first."""
    absolute = target.absolute()
    made = [path for path in (absolute, *absolute.parents) if not path.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot make the folder {path_line(target)}: {why(error)}.") from error
    return made[::-1]
