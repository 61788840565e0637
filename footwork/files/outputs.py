"""Files and folders that a command is to write: looked at before there is anything to write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from pathlib import Path

from footwork.errors import ConfigError, DataError
from footwork.files.folders import MANIFEST
from footwork.files.paths import path_line
from footwork.files.plain_files import read_object

PAGE_MARK = '<meta name="generator" content="Footwork">'
"""Stands in the head of every page that a command writes."""
_HEAD = 4096  # bytes of a page


def unwritable(path: Path, reason: str) -> DataError:
    """What is said of a file that cannot be written, for a reason such as "permission denied"."""
    return DataError(
        f"Cannot write {path_line(path)}: {reason}. Name a file in a folder that is there, where "
        "you may write and there is room."
    )


def unusable(folder: Path, reason: str) -> DataError:
    """What is said of a folder, perhaps to be made, that no files can be put into."""
    return DataError(
        f"Cannot put files into {path_line(folder)}: {reason}. Name a folder that you may write, "
        "or that can be made."
    )


def require_writable(
    path: Path | None, is_own: Callable[[Path], bool], inputs: Iterable[str | Path | None] = ()
) -> None:
    """See that a file can be written, and that nothing is lost by it, if one is named.

    `is_own` tells whether one that stands there is the command's own of before. `inputs` are read
    meanwhile; those that are no paths of this machine are passed over. What would replace an input,
    or a file that is the user's own, is a `ConfigError`; what cannot be written a `DataError`.
    """
    if path is None:
        return
    fault = "it is a folder" if path.is_dir() else _fault_of(path.parent)
    if path.is_symlink() and not path.exists():
        fault = fault or "it is a link that leads nowhere"
    if path.exists() and not path.is_file():
        fault = fault or "it is no file but a pipe or a device"
    if fault is not None:
        raise unwritable(path, fault)
    _require_outside(path)
    for read in inputs:
        if read is not None and _is_within(path, Path(read)):
            raise ConfigError(
                f"{path_line(path)} is what is read, or lies in it: {path_line(read)}. Name "
                "another file."
            )
    if path.exists() and path.stat().st_size and not is_own(path):
        raise ConfigError(
            f"{path_line(path)} is not replaced: this command has not written what stands there. "
            "Name another file, or delete that one."
        )


def require_page(path: Path | None) -> None:
    """`require_writable`, of a file that ends as a page; else a `ConfigError`."""
    require_writable(path, _is_own_page)
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"The ending of {path_line(path.name)} must be .html or .htm, got "
            f"{path.suffix or 'none'!r}."
        )


def require_json(
    path: Path | None, keys: Set[str], inputs: Iterable[str | Path | None] = ()
) -> None:
    """`require_writable`, of a file whose JSON of before has these keys; it ends as JSON."""

    def is_own(path: Path) -> bool:
        with suppress(OSError, ValueError, RecursionError):
            return keys <= read_object(path).keys()
        return False

    require_writable(path, is_own, inputs)
    if path is not None and path.suffix.lower() != ".json":
        raise ConfigError(
            f"The ending of {path_line(path.name)} must be .json, got {path.suffix or 'none'!r}."
        )


def _is_own_page(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return PAGE_MARK.encode() in file.read(_HEAD)
    return False


def _require_outside(path: Path) -> None:
    """Refuse to put anything into an index or a published folder: it would go with that."""
    for folder in Path(os.path.realpath(path)).parents:
        if (folder / MANIFEST).is_file():
            raise ConfigError(
                f"{path_line(path)} lies in {path_line(folder)}, which Footwork keeps for itself. "
                "Name a place outside of it."
            )


def _is_within(path: Path, read: Path) -> bool:
    real = Path(os.path.realpath(path))
    nearest = next(each for each in (real, *real.parents) if each.exists())
    if str(read) == "-":
        with suppress(OSError):
            return path.exists() and os.path.samestat(os.fstat(0), os.stat(path))  # noqa: PTH116
        return False
    with suppress(OSError, ValueError):  # what is read is no path of this machine
        return any(each.samefile(read) for each in (nearest, *nearest.parents))
    return False


def require_makeable(folder: Path | None) -> None:
    """See that a folder can be written into, or made, if one is named, or a `DataError`."""
    if folder is None:
        return
    _require_outside(folder)
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if fault := _fault_of(nearest):
        raise unusable(folder, fault)


def _fault_of(folder: Path) -> str | None:
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return f"{path_line(folder)} is a file"
    return None if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
