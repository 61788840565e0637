"""Folders and files that are complete or absent: written beside, flushed, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.errors import ConfigError, ModelError

MANIFEST = "footwork.json"


@contextmanager
def published_folder(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling to write into; it becomes `target` if the block succeeds.

    Raises:
        ConfigError: `target` holds something and `overwrite` is off, or it cannot be renamed over.
    """
    require_free(target, overwrite)
    target = followed(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(target), dir=target.parent))
    except OSError as error:  # of which the user knows the target's name only
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        flush_folder(staging)
        replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_staging(target: Path) -> None:
    """Delete what a killed process left half-written beside `target`."""
    for path in target.parent.glob(f"{_staging_prefix(target)}*"):
        shutil.rmtree(path, ignore_errors=True)


def discard_folder(folder: Path, target: Path) -> None:
    """Delete `folder`, beside `target`: renamed first, so that no one meets half of it."""
    with suppress(OSError):
        folder = folder.rename(target.with_name(f"{_staging_prefix(target)}done"))
    shutil.rmtree(folder, ignore_errors=True)


def _staging_prefix(target: Path) -> str:
    return f".{target.name}.footwork-"


def followed(target: Path) -> Path:
    """Where `target` leads: a folder cannot be renamed to a link, and a link would be lost."""
    return Path(os.path.realpath(target))


def require_free(target: Path, overwrite: bool = False) -> None:
    """Refuse a target that exists, unless it is an empty folder or may be overwritten."""
    if os.path.ismount(followed(target)):
        raise ConfigError(
            f"{target} is where a disk or volume is mounted, and cannot be replaced as a whole. "
            f"Name a folder in it, such as {target / 'new'}."
        )
    if not overwrite and (target.is_file() or (target.is_dir() and any(target.iterdir()))):
        message = f"{target} exists. Name another folder, or add --overwrite to replace it."
        raise ConfigError(message)


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; what stood there is gone only once the new folder stands."""
    if target.is_dir() and any(target.iterdir()):
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old)
        source.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        if target.is_file():
            target.unlink()
        source.rename(target)
    flush(target.parent)


def flush_folder(folder: Path) -> None:
    """Force every file below `folder` to the disk."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


@contextmanager
def published_file(target: Path) -> Iterator[Path]:
    """Give a temporary sibling to write; flushed, it becomes `target` if the block succeeds.

    Raises:
        OSError: It cannot be written; what stood at `target` still does.
    """
    target = followed(target)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, complete or not at all."""
    with published_file(path) as sibling, sibling.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """What `path` holds.

    Raises:
        ModelError: It is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"Cannot read {path}: {error}. Train or copy the folder again."
        raise ModelError(message) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `footwork.json` of a folder that Footwork made; empty for a folder it did not make."""
    path = folder / MANIFEST
    return dict(read_json(path)) if path.exists() else {}


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
