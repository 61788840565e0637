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
    return _place("cache", "Library/Caches", ("XDG_CACHE_HOME", ".cache"))


def data_folder() -> Path:
    """The folder for what is costly to make again: `data` below `FOOTWORK_HOME`, or the user's.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return _place("data", "Library/Application Support", ("XDG_DATA_HOME", ".local/share"))


def _place(name: str, on_mac: str, elsewhere: tuple[str, str]) -> Path:
    if home := os.environ.get("FOOTWORK_HOME"):
        return Path(home).expanduser() / name
    if sys.platform == "win32":
        return _folder("LOCALAPPDATA", "AppData/Local") / "footwork" / name
    if sys.platform == "darwin":
        return Path.home() / on_mac / "footwork"
    return _folder(*elsewhere) / "footwork"


def _folder(variable: str, below_home: str) -> Path:
    stated = os.environ.get(variable)
    return Path(stated) if stated else Path.home() / below_home
