"""Labels as names of folders that every file system takes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from runtime.errors import ConfigError
from runtime.images.listing import is_visible
from runtime.target_folder import name_key

NONE_FOLDER = "none of these"
"""Holds the images that got no label."""
_LONGEST = 100  # bytes; names may have 255, and Windows wants whole paths below 260
_FORBIDDEN = frozenset('\\/:*?"<>|')
# Devices of Windows, with whatever ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)


def label_folders(labels: Iterable[str]) -> dict[str | None, str]:
    """The folder of each label, and of None: what `plan_sorting` will use.

    Called before anything is labelled, it tells at once what could not be sorted.

    Raises:
        ConfigError: Two would share a folder.
    """
    names = FolderNames()
    return {label: names.of(label) for label in (None, *labels)}


class FolderNames:
    """One folder a label, and no two labels in one."""

    def __init__(self) -> None:
        self._names: dict[str | None, str] = {}
        self._owners: dict[str, str | None] = {}

    def of(self, label: str | None) -> str:
        """The name of its folder.

        Raises:
            ConfigError: It is the folder of another label.
        """
        known = self._names.get(label)
        if known is not None:
            return known
        name = NONE_FOLDER if label is None else folder_name(label)
        owner = self._owners.setdefault(name_key(name), label)
        if owner != label:
            raise ConfigError(
                f"{_named(owner)} and {_named(label)} would share the folder {name!r}. "
                "Rename a label."
            )
        return self._names.setdefault(label, name)


def folder_name(label: str) -> str:
    """A label as the name of a visible folder on Linux, macOS and Windows.

    Characters that one of them forbids become `_`, long labels are cut.
    """
    fit = (c if c.isprintable() and c not in _FORBIDDEN else "_" for c in label)
    name = unicodedata.normalize("NFC", "".join(fit)).strip()
    name = name.encode()[:_LONGEST].decode(errors="ignore").rstrip(". ")
    if not name or _RESERVED.fullmatch(name) or not is_visible(name):
        return f"_{name}"
    return name


def _named(label: str | None) -> str:
    return "The images of no label" if label is None else f"The label {label!r}"
