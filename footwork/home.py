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
    return _below_home("cache") or _platform_folder("user_cache_path")


def data_folder() -> Path:
    """The folder for what is costly to make again: `data` below `FOOTWORK_HOME`, or the user's.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return _below_home("data") or _platform_folder("user_data_path")


def _below_home(name: str) -> Path | None:
    home = os.environ.get("FOOTWORK_HOME")
    return Path(home).expanduser() / name if home else None


def _platform_folder(kind: str) -> Path:
    import platformdirs

    Path.home()  # raises where there is none; platformdirs would give a folder named ~
    folder: Path = getattr(platformdirs, kind)("footwork", appauthor=False)
    return folder
