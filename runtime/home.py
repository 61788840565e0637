"""Where Footwork keeps what it makes for itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what can be made again: `cache` below `FOOTWORK_HOME`, or the user's own.

    It need not exist, and may be deleted at any time.

    Raises:
        RuntimeError: The user has no home folder.
    """
    if home := os.environ.get("FOOTWORK_HOME"):
        return Path(home).expanduser() / "cache"
    if sys.platform == "win32":
        return _folder("LOCALAPPDATA", "AppData/Local") / "footwork" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "footwork"
    return _folder("XDG_CACHE_HOME", ".cache") / "footwork"


def data_folder() -> Path:
    """The folder for what is costly to make again: `data` below `FOOTWORK_HOME`, or the user's.

    Raises:
        RuntimeError: The user has no home folder.
    """
    if home := os.environ.get("FOOTWORK_HOME"):
        return Path(home).expanduser() / "data"
    if sys.platform == "win32":
        return _folder("LOCALAPPDATA", "AppData/Local") / "footwork" / "data"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "footwork"
    return _folder("XDG_DATA_HOME", ".local/share") / "footwork"


def _folder(variable: str, below_home: str) -> Path:
    stated = os.environ.get(variable)
    return Path(stated) if stated else Path.home() / below_home
