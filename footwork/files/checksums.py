"""Whether the files of a folder are what was written there: checksums of them all, in its manifest.

To read 250 MB takes 0.1 s, a third of a query. So whoever opens a folder looks at some blocks of
each file, others each time; at all of a file that was changed after the manifest was written.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any
from zlib import crc32

from footwork.files.folders import MANIFEST, is_of_a_desktop, write_json
from footwork.files.plain_files import open_plain, read_object, require_no_link

FORMAT = 1
_BLOCK = 1 << 18  # bytes that have a checksum
_LOOKED_AT = 8  # blocks of a file that are read when it is opened: 2 MiB take a millisecond


def write_checksums(folder: Path, kind: str) -> None:
    """Write a manifest of all files in a folder and below it; an `OSError` where it cannot."""
    require_no_link(folder / MANIFEST)
    named = {name: file_checksums(folder / name) for name in _names(folder)}
    write_json(folder / MANIFEST, {"kind": kind, "format": FORMAT, "files": named})


def has_checksums(folder: Path) -> bool:
    """Whether a folder has a manifest: older ones have none."""
    return os.path.lexists(folder / MANIFEST)


def damage_in(folder: Path, kind: str, *, whole: bool) -> str | None:
    """What is not as `write_checksums` left it, as a clause; None for nothing, or no manifest.

    Every block is read where the `whole` is wanted, else some of them.
    """
    if not has_checksums(folder):
        return None
    try:
        manifest = read_object(folder / MANIFEST)
        if (manifest.get("kind"), manifest.get("format")) != (kind, FORMAT):
            return f"{MANIFEST} is not of this version's {kind}"
        files, since = dict(manifest["files"]), (folder / MANIFEST).stat().st_mtime_ns
        if sorted(files) != _names(folder):
            return f"{MANIFEST} names other files than there are"
        for name, told in files.items():
            late = (folder / name).stat().st_mtime_ns > since
            if fault := file_damage(folder / name, told, whole=whole or late):
                return f"{name} {fault}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST}, or a file that it names, cannot be read ({error!r:.100})"
    return None


def file_checksums(path: Path) -> dict[str, Any]:
    """Of a file: its length in bytes, and a checksum of every block of it."""
    with open_plain(path) as file:
        blocks = list(iter(lambda: file.read(_BLOCK), b""))
        return {"bytes": file.tell(), "blocks": [crc32(block) for block in blocks]}


def file_damage(path: Path, told: dict[str, Any], *, whole: bool) -> str | None:
    """Compare a file, or some of its blocks, with its checksums, of `file_checksums`.

    What is no such thing raises KeyError or TypeError.
    """
    size, sums = told["bytes"], list(told["blocks"])
    with open_plain(path) as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            return f"has {found:,} bytes in place of {size!s:.20}"
        if len(sums) != -(-found // _BLOCK):
            return "lacks checksums"
        every = range(len(sums))
        some = every if whole or len(sums) <= _LOOKED_AT else random.sample(every, _LOOKED_AT)
        for number in some:
            if crc32(os.pread(file.fileno(), _BLOCK, number * _BLOCK)) != sums[number]:
                return f"is not what was written, from byte {number * _BLOCK:,} on"
    return None


def _names(folder: Path) -> list[str]:
    """Of all files but the manifest."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return sorted(
        path.relative_to(folder).as_posix() for path in paths if not is_of_a_desktop(path.name)
    )
