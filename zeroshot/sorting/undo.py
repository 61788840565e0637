"""Put back what sorting did."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import DataError
from runtime.faults import Fault, counted, fault_lines, why
from runtime.placing import are_identical, part_of, place_file
from zeroshot.sorting.record import FILE_NAME, Step, UndoRecord, opened_record


@dataclass(frozen=True, slots=True)
class UndoOutcome:
    """What came of undoing."""

    moved_back: int
    """Files that stand where they stood."""
    deleted: int
    """Copies whose original still stands, byte for byte."""
    failed: tuple[Fault, ...]
    """Files that were left as they are, and why; the undo file keeps their steps."""

    def to_text(self) -> str:
        """What was put back, and what was not."""
        said = f"{counted(self.moved_back, 'file')} moved back, "
        said += f"{counted(self.deleted, 'copy', 'copies')} deleted."
        lines = fault_lines(self.failed, "Left as they are")
        return "\n".join([said, *lines])


def undo_sorting(undo_file: Path) -> UndoOutcome:
    """Undo everything that was sorted into a folder since the last undo, the last step first.

    Files that were moved move back, with whatever was changed in them meanwhile. Copies are
    deleted if their original still stands with the same content: no content is ever deleted that
    is not elsewhere, and nothing is overwritten. Folders that sorting made go if they are empty,
    and so does the undo file once all of it is undone.

    Args:
        undo_file: `footwork-undo.jsonl`, or the folder in which it stands.

    Raises:
        ConfigError: Sorting into that folder is still going on.
        DataError: There is no undo file, or it cannot be read.
    """
    path = undo_file / FILE_NAME if undo_file.is_dir() else undo_file
    if not path.is_file():
        raise DataError(
            f"There is no undo file {path}. Sorting leaves it in the folder it sorts into, until "
            "all is undone."
        )
    with opened_record(path) as record:
        return _Undoing(record).run()


class _Undoing:
    """Goes through an undo file from its end."""

    def __init__(self, record: UndoRecord) -> None:
        self._record = record
        self._root = Path(os.path.abspath(record.path.parent))  # noqa: PTH100 - links stay links
        self._moved_back = self._deleted = 0
        self._failed: list[Fault] = []
        self._kept: list[bytes] = []
        self._outer: list[Path] = []

    def run(self) -> UndoOutcome:
        """Undo all lines, and remove the file or leave in it what failed."""
        for number in range(len(self._record.lines), 0, -1):
            self._undo_line(number, self._record.lines[number - 1])
        if not self._failed:
            part_of(self._record.path).unlink(missing_ok=True)  # of an undo that was killed
            self._record.path.unlink()
            for folder in self._outer:
                _remove_empty(folder)
        else:
            _replace(self._record.path, b"".join(reversed(self._kept)))
        return UndoOutcome(self._moved_back, self._deleted, tuple(self._failed))

    def _undo_line(self, number: int, line: bytes) -> None:
        try:
            step = Step.from_line(line)
        except ValueError:
            self._keep(line, Fault(self._record.path, f"its line {number} cannot be read"))
            return
        target = Path(os.path.normpath(self._root / step.target))
        if step.step == "folder":
            self._undo_folder(target, line)
        elif self._root not in target.parents:
            self._keep(line, Fault(target, f"it does not lie in {self._root}"))
        else:
            self._undo_file(step, target, line)

    def _undo_folder(self, folder: Path, line: bytes) -> None:
        if self._root not in folder.parents:
            self._outer.append(folder)  # goes after the undo file that lies in it
            self._kept.append(line)
        elif not _remove_empty(folder):
            self._kept.append(line)

    def _undo_file(self, step: Step, target: Path, line: bytes) -> None:
        source = Path(step.source)
        try:
            for path in (target, source):  # of a run, and of an undo, that was killed
                part_of(path).unlink(missing_ok=True)
            reason = self._reason_to_keep(step, source, target)
            if reason is None and os.path.lexists(target):
                self._put_back(source, target)
        except OSError as error:
            reason = why(error)
        if reason is not None:
            self._keep(line, Fault(target, reason))

    def _reason_to_keep(self, step: Step, source: Path, target: Path) -> str | None:
        standing = os.path.lexists(source)
        if not os.path.lexists(target):
            gone = not standing and step.step == "move"
            return f"it is gone, and does not stand at {source} either" if gone else None
        if target.is_symlink():
            return "it is a link, which sorting did not put there"
        if not standing:
            return None if step.step == "move" else f"its original {source} is gone"
        if not are_identical(source, target):
            return f"another file stands at {source}, or one of them was changed"
        return None

    def _put_back(self, source: Path, target: Path) -> None:
        if os.path.lexists(source):
            target.unlink()  # the same bytes stand at the source
            self._deleted += 1
        else:
            source.parent.mkdir(parents=True, exist_ok=True)
            place_file(target, source, "move")
            self._moved_back += 1

    def _keep(self, line: bytes, fault: Fault) -> None:
        self._kept.append(line)
        self._failed.append(fault)


def _remove_empty(folder: Path) -> bool:
    """Whether it is gone; what others put into it keeps it."""
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _replace(path: Path, content: bytes) -> None:
    part = part_of(path)
    part.write_bytes(content)
    part.replace(path)
