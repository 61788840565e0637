"""Where Footwork keeps what it makes for itself."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what can be made again: `cache` below `FOOTWORK_HOME`, or the user's own.

    It need not exist, and may be deleted at any time.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return _folder("cache")


def data_folder() -> Path:
    """The folder for what is costly to make again: `data` below `FOOTWORK_HOME`, or the user's.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return _folder("data")


def _folder(kind: str) -> Path:
    if home := os.environ.get("FOOTWORK_HOME"):
        return Path(home).expanduser() / kind
    import platformdirs

    Path.home()  # raises where there is none; platformdirs would give a folder named ~
    folder: Path = getattr(platformdirs, f"user_{kind}_path")("footwork", appauthor=False)
    return folder
