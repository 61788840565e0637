"""Put back what sorting did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from footwork.errors import DataError
from footwork.files.faults import Fault, counted, fault_lines, why
from footwork.files.folders import published_file
from footwork.files.paths import path_line, user_path
from footwork.files.placing import are_identical, place_file
from footwork.files.plain_files import content_hash, content_of
from zeroshot.sorting.record import FILE_NAME, SortedFile, Step, UndoRecord, opened_record
from zeroshot.sorting.sidecars import sidecar_beside, sidecars_of


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
        back, deleted = counted(self.moved_back, "file"), counted(self.deleted, "copy", "copies")
        lines = fault_lines(self.failed, "Left as they are")
        return "\n".join([f"{back} moved back, {deleted} deleted.", *lines])


def undo_sorting(undo_file: Path, *, trust: bool = False) -> UndoOutcome:
    """Undo everything that was sorted into a folder since the last undo, the last step first.

    Files that were moved move back. Copies are deleted if their original still stands with the same
    content: no content is ever deleted that is not elsewhere, and nothing is overwritten. An image
    goes with its sidecars or not at all. Folders that sorting made go if they are empty, and so
    does the undo file once all of it is undone.

    Args:
        undo_file: `footwork-undo.jsonl`, or the folder in which it stands.
        trust: Believe steps that this user has not signed, as an undo file of another machine has
            them, and move back what was changed since it was sorted.

    Raises:
        ConfigError: Sorting into that folder is still going on.
        DataError: There is no undo file, or it cannot be read.
    """
    path = user_path(undo_file)
    path = path / FILE_NAME if path.is_dir() else path
    if path.name != FILE_NAME or not path.is_file() or path.is_symlink():
        raise DataError(
            f"There is no undo file {path_line(path)}. Sorting leaves {FILE_NAME} in the folder it "
            "sorts into, until all is undone."
        )
    with opened_record(path) as record:
        return _Undoing(record, trust).run()


class _Return(NamedTuple):
    """A file that stands where it was sorted to, and where it goes."""

    target: Path
    source: Path
    part: str
    doubled: bool
    """Its content stands at the source, too: here it is deleted."""


class _Undoing:
    """Goes through an undo file from its end."""

    def __init__(self, record: UndoRecord, trust: bool) -> None:
        self._record, self._trust = record, trust
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
            self._record.path.unlink()
            for folder in self._outer:
                _remove_empty(folder)
        else:
            with published_file(self._record.path) as sibling:
                sibling.write_bytes(b"".join(reversed(self._kept)))
        return UndoOutcome(self._moved_back, self._deleted, tuple(self._failed))

    def _undo_line(self, number: int, line: bytes) -> None:
        try:
            step, signed = Step.from_line(line, self._record.key)
        except ValueError:
            self._keep(line, Fault(self._record.path, f"its line {number} cannot be read"))
            return
        if not signed and not self._trust:
            reason = f"you have not signed its line {number} on this machine; --trust believes it"
            self._keep(line, Fault(self._record.path, reason))
        elif step.step == "folder":
            self._undo_folder(Path(os.path.normpath(self._root / step.folder)), line)
        else:
            try:
                fault = self._reason_to_keep(step) or self._put_back(step)
            except OSError as error:
                fault = why(error)
            if fault is not None:
                self._keep(line, Fault(self._root / step.files[0].target, fault))

    def _undo_folder(self, folder: Path, line: bytes) -> None:
        if self._root not in folder.parents and folder not in (self._root, *self._root.parents):
            self._keep(line, Fault(folder, "it has nothing to do with what was sorted"))
        elif self._root not in folder.parents:
            self._outer.append(folder)  # goes after the undo file that lies in it
            self._kept.append(line)
        elif not _remove_empty(folder):
            self._kept.append(line)

    def _reason_to_keep(self, step: Step) -> str | None:
        """Why an image and its sidecars stay; what a kill has left of copies of them goes."""
        for file in step.files:
            target, source = self._root / file.target, Path(file.source)
            inside = Path(os.path.realpath(self._root)) / file.target
            if target == self._record.path:
                return "it is the undo file itself"
            if Path(os.path.realpath(target.parent)) != inside.parent:
                return "a link leads to it, and out of the folder that was sorted into"
            for path in (target, source):
                part = path.with_name(file.part)
                if os.path.lexists(target) or os.path.lexists(source):
                    part.unlink(missing_ok=True)
                elif content_of(part) == file.sha256:  # a power cut took the names of the others
                    part.rename(path)
            if (reason := self._reason_of_one(step, file)) is not None:
                return reason if file is step.files[0] else f"{path_line(target)}: {reason}"
        return self._reason_of_sidecars(step)

    def _reason_of_one(self, step: Step, file: SortedFile) -> str | None:
        target, source = self._root / file.target, Path(file.source)
        before = os.path.lexists(source)
        if not os.path.lexists(target):
            gone = step.step == "move" and not before
            return f"it is gone, and does not stand at {path_line(source)} either" if gone else None
        if target.is_symlink():
            return "it is a link, which sorting did not put there"
        if before:
            return _reason_of_both(target, source)
        if step.step == "copy":
            return f"its original {path_line(source)} is gone"
        return None if self._trust else _reason_against_return(target, source, file)

    def _reason_of_sidecars(self, step: Step) -> str | None:
        """Why sidecars that were written after the sorting keep an image where it is."""
        image = step.files[0]
        target, source = self._root / image.target, Path(image.source)
        if not os.path.lexists(target):
            return None
        known = {self._root / file.target for file in step.files[1:]}
        new = [sidecar for sidecar in sidecars_of(target) if sidecar not in known]
        if step.step == "copy" and new:
            return f"{path_line(new[0].name)} was written beside it, and not beside its original"
        if step.step == "move":
            origins = {Path(file.source) for file in step.files}
            for sidecar in (None, *new):
                place = sidecar_beside(source, target, sidecar)
                if place not in origins and os.path.lexists(place):
                    return f"{path_line(place)} is of another image"
        return None

    def _put_back(self, step: Step) -> str | None:
        """Move back, or delete; gives why that could not be done, where nothing was."""
        returns = list(self._returns(step))
        moved: list[_Return] = []
        for file in returns:
            try:
                if not file.doubled:
                    file.source.parent.mkdir(parents=True, exist_ok=True)
                    place_file(file.target, file.source, "move", file.part)
                    moved.append(file)
            except OSError as error:
                for back in reversed(moved):
                    with suppress(OSError):
                        place_file(back.source, back.target, "move", back.part)
                return why(error)
        self._moved_back += len(moved)
        for file in returns:
            if file.doubled:  # looked at once more: the last may have been its original
                if (reason := _reason_of_both(file.target, file.source)) is not None:
                    return reason
                file.target.unlink()
                self._deleted += 1
        return None

    def _returns(self, step: Step) -> Iterator[_Return]:
        image = step.files[0]
        target, source = self._root / image.target, Path(image.source)
        known = set()
        for file in step.files:
            known.add(standing := self._root / file.target)
            if os.path.lexists(standing):
                origin = Path(file.source)
                yield _Return(standing, origin, file.part, os.path.lexists(origin))
        for sidecar in sidecars_of(target) if step.step == "move" else ():
            if sidecar not in known:
                yield _Return(sidecar, sidecar_beside(source, target, sidecar), image.part, False)

    def _keep(self, line: bytes, fault: Fault) -> None:
        self._kept.append(line)
        self._failed.append(fault)


def _reason_against_return(target: Path, source: Path, file: SortedFile) -> str | None:
    """Why a file does not move back unless the user says so."""
    if file.mount and not os.path.ismount(file.mount):
        mount = path_line(file.mount)
        return f"no drive is mounted at {mount}, where it came from; --trust moves it there anyway"
    if os.path.realpath(source.parent) != str(source.parent):
        return f"a link stands in the way to {path_line(source)}; --trust goes along it"
    if content_hash(target) != file.sha256:
        return "it was changed since it was sorted; --trust moves it back all the same"
    return None


def _reason_of_both(target: Path, source: Path) -> str | None:
    """Why a file stays though its original stands: it may be the original, reached by a link."""
    # Of a file with two names, as a killed move leaves it, one name may go.
    one_name = target.stat().st_nlink < 2 or os.path.realpath(target) == os.path.realpath(source)
    if target.samefile(source) and one_name:
        return f"{path_line(source)} leads to this very file"
    if not are_identical(source, target):
        return f"another file stands at {path_line(source)}, or one of them was changed"
    return None


def _remove_empty(folder: Path) -> bool:
    """Whether it is gone; what others put into it keeps it."""
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
