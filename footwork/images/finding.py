"""Image files, found in folders, by patterns and in lists, sorted as people count."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from footwork.errors import DataError
from footwork.files.faults import counted, shortened, why

# What systems and network storages put beside the pictures of a user: copies and bins.
MACHINE_FOLDERS = frozenset(
    {
        *("#recycle", "#snapshot", "$RECYCLE.BIN", "@Recycle", "@eaDir"),
        *("System Volume Information", "__MACOSX", "lost+found"),
    }
)
_DIGITS = re.compile(r"([0-9]+)")
_PATTERN_SIGNS = re.compile(r"[*?[]")


IsExcluded = Callable[[str, bool], bool]
"""Of a path, and whether it is a folder."""


class FolderReader:
    """Lists folders; what cannot be listed is noted and left out.

    A walk passes over what `is_excluded`, with all below it.
    """

    def __init__(self, is_excluded: IsExcluded = lambda _path, _is_folder: False) -> None:
        self.unlisted: dict[Path, str] = {}
        """Folders that could not be read, each with a sentence that says so."""
        self._is_excluded = is_excluded

    def walk(self, root: Path) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
        """List `root`, first, and all folders below it, links followed, none twice.

        Links come after all that really stands below `root`, so that an image is known by its own
        path and not by the one of a link. Yields each with its visible entries, naturally sorted.
        """
        seen: set[tuple[int, int]] = set()
        waiting, links = [root], deque[Path]()
        while waiting or links:
            folder = waiting.pop() if waiting else links.popleft()
            try:
                state = folder.stat()
            except OSError as error:
                self._note(folder, error)
                continue
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            entries = [
                entry
                for entry in self._entries(folder)
                if is_visible(entry.name) and not self._is_excluded(entry.path, is_folder(entry))
            ]
            yield folder, entries
            below = [entry for entry in entries if is_folder(entry)]
            links.extend(Path(entry.path) for entry in below if entry.is_symlink())
            waiting.extend(Path(entry.path) for entry in reversed(below) if not entry.is_symlink())

    def expand(self, pattern: Path) -> Iterator[Path]:
        """Find what a pattern names, as a shell does; the case of an ending does not matter.

        `*`, `?` and `[…]` stand for parts of a name, `**` for any number of folders. Hidden names
        match only what begins with a dot.
        """
        parts = pattern.parts
        fixed = next(i for i, part in enumerate(parts) if is_pattern(part))
        yield from self._matches(Path(*parts[:fixed]), parts[fixed:])

    def _matches(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        if not parts:
            yield folder
        elif parts[0] == "**":
            for below, _ in self.walk(folder):
                yield from self._matches(below, parts[1:])
        elif is_pattern(parts[0]):
            for entry in self._entries(folder):
                if is_match(entry.name, parts[0]) and (len(parts) == 1 or is_folder(entry)):
                    yield from self._matches(Path(entry.path), parts[1:])
        elif why_missing(folder / parts[0]) is None:
            yield from self._matches(folder / parts[0], parts[1:])

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            self._note(folder, error)
            return []

    def _note(self, folder: Path, error: OSError) -> None:
        reason = str(error.strerror).lower()
        self.unlisted[folder] = f"Cannot read {folder}: {reason}; its images are left out."


def is_visible(name: str) -> bool:
    """Whether a user put it there, and wants it seen."""
    return not name.startswith(".") and name not in MACHINE_FOLDERS


def is_folder(found: os.DirEntry[str] | Path) -> bool:
    """Whether it is a folder or leads to one; a link that leads nowhere is none."""
    try:
        return found.is_dir()
    except OSError:
        return False


def why_missing(path: Path) -> str | None:
    """Why nothing can be found at a path; None if something stands there."""
    try:
        path.stat()
    except ValueError:  # a NUL character, or half a letter
        return "no file can have such a name"
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        return why(error)
    return None


def is_pattern(name: str) -> bool:
    """Whether it holds a sign that stands for others."""
    return _PATTERN_SIGNS.search(name) is not None


def natural_key(name: str) -> tuple[list[str], str]:
    """Sorts img2 before img10, and B between a and c."""
    parts = _DIGITS.split(name.casefold())
    parts[1::2] = [f"{len(digits := part.lstrip('0')):09}{digits}" for part in parts[1::2]]
    return parts, name


def is_match(name: str, pattern: str) -> bool:
    """Whether a pattern of one name, without slashes, means it."""
    if not is_visible(name) and not (name.startswith(".") and pattern.startswith(".")):
        return False
    return fnmatchcase(_one_spelling(name), _one_spelling(pattern))


def _one_spelling(name: str) -> str:
    """With its ending in lower case, and composed: file systems keep either."""
    stem, ending = os.path.splitext(unicodedata.normalize("NFC", name))  # noqa: PTH122 - a name
    return stem + ending.lower()


_ENDINGS = """
.jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .heic .heif .hif
.jp2 .j2k .jpf .jpx .j2c .jpc .pnm .ppm .pgm .pbm .pfm .tga .psd .qoi .ico .icns .dds .sgi .pcx
"""
IMAGE_ENDINGS = tuple(_ENDINGS.split())
"""What a file in a folder must end with, in any case, to be taken for an image."""

_UNREAD = """
.3fr .arw .cap .cr2 .cr3 .crw .dcr .dng .eip .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef
.nrw .orf .pef .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .x3f
.bpg .dcm .fits .heics .heifs .insp .jls .jxl .jxr .wdp .svg .svgz .pdf .ai .eps .psb .xcf .kra
.exr .hdr
.mov .mp4 .m4v .avi .mkv .webm .mts .m2ts .3gp .3g2 .mpg .mpeg .m2v .wmv .asf .flv .ogv .vob .mxf
.insv .lrv
"""
UNREAD_ENDINGS = frozenset(_UNREAD.split())
"""Of raw photos, drawings and videos, which are not read, yet missed by those who have them."""

_WHAT_TO_NAME = "Name folders, image files, or a quoted pattern such as 'photos/**/*.jpg'."


@dataclass(frozen=True, slots=True)
class FoundImages:
    """Image files, and what was passed over on the way."""

    paths: tuple[Path, ...]
    """Each once, as its source leads to it."""
    notes: tuple[str, ...]
    """Folders that could not be read or hold no image, one sentence each."""
    unread: Counter[str] = field(default_factory=Counter)
    """How many files have each of `UNREAD_ENDINGS`."""
    unlisted: tuple[Path, ...] = ()
    """Folders that could not be read: what is in them is not known."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that is to be told of what was passed over, one sentence each."""
        return (*self.notes, *unread_notes(self.unread))


def find_images(
    sources: Iterable[str | Path],
    is_excluded: IsExcluded = lambda _path, _is_folder: False,
    listed: Container[str | Path] = (),
    *,
    required: bool = True,
) -> FoundImages:
    """Find images in folders and all below them, by patterns, and by name.

    Links are followed, and loops of them end. Hidden files and folders are passed over unless a
    source names them. A named file is taken for an image whatever it is called; in folders and by
    patterns those with a known ending are. Paths come in the order of the sources; within a folder
    its files, then its folders, naturally sorted.

    Args:
        sources: Folders, files, or patterns with `*`, `?`, `[…]` and `**`; one that does not exist
            is a `DataError`, as is that none holds an image.
        is_excluded: What is passed over in folders, with all below it.
        listed: Those sources that a list of many names: none is a pattern, and one that is not
            there is taken for a file, and whoever decodes it says why it is no image.
        required: False finds nothing where no source holds an image.
    """
    if isinstance(sources, str):
        raise TypeError(f"`sources` must be several, got the string {sources!r}.")
    finder = _Finder(is_excluded)
    for source in sources:
        finder.add(source, is_listed=source in listed)
    return finder.result(required)


def unread_notes(unread: Counter[str]) -> Iterator[str]:
    """One sentence on files of kinds that are not read, if there are any."""
    if unread:
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in unread.most_common())
        yield f"{counted(unread.total(), 'file')} of kinds that are not read: {kinds}."


def listed_paths(content: bytes) -> Iterator[str]:
    r"""The paths in a list of one a line, or each ended by NUL, as `find -print0` does.

    Blank lines are none; spaces belong to a name, as what ends a line (\n or \r\n) does before NUL.
    """
    if b"\0" in content:
        yield from filter(None, os.fsdecode(content).split("\0"))
        return
    for line in os.fsdecode(content).split("\n"):
        path = line.removesuffix("\r").removeprefix("\ufeff")
        if path.strip():
            yield path


class _Finder:
    """Gathers what the sources lead to."""

    def __init__(self, is_excluded: IsExcluded) -> None:
        self._reader = FolderReader(is_excluded)
        self._sources: list[str] = []
        self._empty: list[str] = []
        self._paths: list[Path] = []
        self._unread: Counter[str] = Counter()
        self._known: set[tuple[str, str]] = set()
        self._real: dict[str, str] = {}

    def add(self, source: str | Path, *, is_listed: bool) -> None:
        """Gather the images of one source, which must exist if it is not listed."""
        name, before = str(source), len(self._paths)
        self._sources.append(name)
        fault = why_missing(Path(name)) if name else "it is empty"
        if fault is None and is_folder(Path(name)):
            self._add_folder(Path(name))
        elif fault is None:
            self._add_file(Path(name))
            return  # one that was named before is no lack of images
        elif is_listed:
            self._add_file(Path(name))
            return
        elif is_pattern(name) and (matches := list(self._reader.expand(Path(name)))):
            self._add_matches(matches)
        elif is_pattern(name):
            notes = self._reader.unlisted.values()
            raise DataError(" ".join([f"No file matches {name!r}. {_WHAT_TO_NAME}", *notes]))
        else:
            raise DataError(f"Cannot find {name!r}: {fault}. {_WHAT_TO_NAME}")
        if len(self._paths) == before:
            self._empty.append(name)

    def result(self, required: bool) -> FoundImages:
        """What was gathered: at least one image, if one is required."""
        notes = self._reader.unlisted.values()
        if not self._sources:
            raise DataError(f"No images are named. {_WHAT_TO_NAME}")
        if required and not self._paths:
            where = shortened(self._sources, 3)
            endings = ", ".join(IMAGE_ENDINGS)
            said = (f"No image in {where}. Supported: {endings}.", *unread_notes(self._unread))
            raise DataError(" ".join([*said, *notes]))
        empty = (f"No image in {name}." for name in self._empty)
        unlisted = tuple(self._reader.unlisted)
        return FoundImages(tuple(self._paths), (*notes, *empty), self._unread, unlisted)

    def _add_folder(self, folder: Path) -> None:
        for _, entries in self._reader.walk(folder):
            for entry in entries:
                if not is_folder(entry):
                    self._add_entry(entry)

    def _add_matches(self, matches: Iterable[Path]) -> None:
        for path in matches:
            if is_folder(path):
                self._add_folder(path)
            else:
                self._add_entry(path)

    def _add_entry(self, entry: os.DirEntry[str] | Path) -> None:
        ending = PurePath(entry.name).suffix.lower()
        # A link to nowhere is taken along: decoding says what is wrong with it.
        if has_image_ending(entry.name):
            self._add_file(Path(entry))
        elif ending in UNREAD_ENDINGS and self._is_new(Path(entry)):
            self._unread[ending] += 1

    def _add_file(self, path: Path) -> None:
        if self._is_new(path):
            self._paths.append(path)

    def _is_new(self, path: Path) -> bool:
        # Folders are told by where they really are: `a/b/../x.jpg` or a link to `a` lead to one
        # image. A link to a file remains an image of its own, as its copy would.
        folder, name = os.path.split(path)  # of paths half of the time would go into their hashes
        real = self._real.get(folder)
        if real is None:
            # Unlike `Path.resolve` it raises at no loop of links.
            real = self._real[folder] = os.path.realpath(folder)
        before = len(self._known)
        self._known.add((real, name))
        return len(self._known) > before


def has_image_ending(name: str) -> bool:
    """Whether a file of this name is taken for an image, whatever the case of its ending."""
    return name.lower().endswith(IMAGE_ENDINGS)
