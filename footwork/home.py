"""Where Footwork keeps what it makes for itself."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """What can be made again: `cache` below `FOOTWORK_HOME`, or the user's own folder.

    It need not exist, and may be deleted at any time. Without a home folder a `RuntimeError`.
    """
    return _folder("cache")


def data_folder() -> Path:
    """The folder for what is costly to make again; else as `cache_folder`."""
    return _folder("data")


def _folder(kind: str) -> Path:
    if home := os.environ.get("FOOTWORK_HOME"):
        return Path(home).expanduser() / kind
    import platformdirs

    Path.home()  # raises where there is none; platformdirs would give a folder named ~
    return getattr(platformdirs, f"user_{kind}_path")("footwork", appauthor=False)
