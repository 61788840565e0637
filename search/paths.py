"""Files as an index calls them: absolute, as text that every store can hold."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice, product
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from footwork.errors import ConfigError
from footwork.files.paths import EMPTY_PATH, user_path
from footwork.images.finding import why_missing

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words_of(text: str) -> list[str]:
    """Words in order, lower-case, without accents: `Été/BeachDay_9.JPG` → ete beach day 9 jpg."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return [word.lower() for part in _WORD.findall(plain) for word in _CAMEL.split(part)]


_SURROGATES = range(0xDC80, 0xDD00)
"""What Python makes of bytes that are no UTF-8 (PEP 383)."""
_PRIVATE = 0x10FE80
"""Where they are kept: code points for private use, which no file name is likely to have."""

_MOST_SPELLINGS = 256
"""Of one path: more than eight of its names with accents are of no path that is there."""

_STORED = {code: _PRIVATE + code - _SURROGATES[0] for code in _SURROGATES}
_REAL = {stored: code for code, stored in _STORED.items()}


def absolute_path(path: str | Path) -> str:
    """A path without `~`, `..` and `.`; links are kept. `ConfigError` where it is empty."""
    if path == "":
        raise ConfigError(f"Each {EMPTY_PATH}")
    # `Path.absolute` keeps `..`; `abspath` keeps the second of two slashes at the beginning.
    return "/" + os.path.abspath(user_path(path)).lstrip("/")  # noqa: PTH100


def is_at_or_below(path: str, folder: str) -> bool:
    """Whether an absolute path is `folder` or lies in it, at any depth."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def is_within(path: str, folders: Iterable[str]) -> bool:
    """Whether an absolute path is at or below one of some folders."""
    return any(is_at_or_below(path, folder) for folder in folders)


def spellings(text: str) -> tuple[str, ...]:
    """A text as it stands, composed and decomposed: file systems keep either, and both look alike.

    Of a path each name is spelt by itself.
    """
    if text.isascii():
        return (text,)
    names = (
        dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
        for name in text.split("/")
    )
    return tuple(islice(map("/".join, product(*names)), _MOST_SPELLINGS))


def composed(text: str) -> str:
    """The one of these that others are compared by."""
    return unicodedata.normalize("NFC", text)


def stored_text(path: str) -> str:
    """A path, or other text from a file, as valid Unicode; `real_path` undoes it."""
    return path if path.isascii() else path.translate(_STORED)


def real_path(text: str) -> str:
    """The path that `stored_text` was given."""
    return text if text.isascii() else text.translate(_REAL)


NO_ANSWER = "its drive does not answer"
_PATIENCE = 2.0
"""Seconds without a word from any drive, after which the rest is taken for missing."""


def missing_files(
    paths: Iterable[str], roots: Sequence[str] = (), *, longest: float = 10.0
) -> dict[str, str]:
    """Which of some files, absolute, are not there, in no order, each with the reason: a clause.

    A question to a dead network drive may never come back, and cannot be called off. So each of
    `roots`, the indexed folders, which may lie on different drives, is asked by a thread of its
    own, and those that hang are left behind. A drive may be slow, and files many: what was not
    reached after `longest`, in seconds, was not looked for, and is not told.
    """
    by_root: dict[str | None, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_root[next((one for one in roots if is_at_or_below(path, one)), None)].append(path)
    answers: SimpleQueue[tuple[str, str | None]] = SimpleQueue()

    def look(paths: Sequence[str]) -> None:
        for path in paths:
            answers.put((path, why_missing(Path(path))))

    for some in by_root.values():
        Thread(target=look, args=(some,), daemon=True).start()
    missing, waiting = dict[str, str](), {path for some in by_root.values() for path in some}
    end = time.monotonic() + longest
    while waiting and time.monotonic() < end:
        try:
            path, reason = answers.get(timeout=_PATIENCE)
        except Empty:
            return missing | dict.fromkeys(waiting, NO_ANSWER)
        waiting.discard(path)
        if reason is not None:
            missing[path] = reason
    return missing
