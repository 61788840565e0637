"""Files and folders that a command is to write: looked at before there is anything to write."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.errors import DataError
from runtime.paths import path_line


def unwritable(path: Path, reason: str) -> DataError:
    """What is said of a file that cannot be written.

    Args:
        path: The file.
        reason: A clause such as "permission denied".
    """
    return DataError(
        f"Cannot write {path_line(path)}: {reason}. Name a file in a folder that is there, where "
        "you may write and there is room."
    )


def unusable(folder: Path, reason: str) -> DataError:
    """What is said of a folder that no files can be put into.

    Args:
        folder: Which may have to be made.
        reason: A clause.
    """
    return DataError(
        f"Cannot put files into {path_line(folder)}: {reason}. Name a folder that you may write, "
        "or that can be made."
    )


def require_writable(path: Path | None) -> None:
    """See that a file can be written, if one is named.

    Raises:
        DataError: It cannot.
    """
    if path is None:
        return
    fault = "it is a folder" if path.is_dir() else _fault_of(path.parent)
    if fault is not None:
        raise unwritable(path, fault)


def require_makeable(folder: Path | None) -> None:
    """See that a folder can be written into, or be made, if one is named.

    Raises:
        DataError: It cannot.
    """
    if folder is None:
        return
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    fault = _fault_of(nearest)
    if fault is not None:
        raise unusable(folder, fault)


def _fault_of(folder: Path) -> str | None:
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return f"{path_line(folder)} is a file"
    return None if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
