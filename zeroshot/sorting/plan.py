"""What sorting would do: a value to look at before anything is done."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from footwork.errors import ConfigError
from footwork.files.faults import Fault, counted, fault_lines, first_lines, shortened, why
from footwork.files.paths import path_line
from footwork.files.placing import How, TargetFolder, name_key
from footwork.images.finding import is_visible
from zeroshot.sidecars import companions_of, sidecar_beside, sidecars_of
from zeroshot.sorting.record import recorded_copies

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


_LISTED = 10  # files that the text names, of each kind


class Labelled(Protocol):
    """What sorting must know of an image: `zeroshot.classifier.LabelledImage` does."""

    @property
    def path(self) -> Path | None:
        """Where it stands."""

    @property
    def label(self) -> str | None:
        """None where no label fits."""

    @property
    def fault(self) -> str | None:
        """Why it cannot be read, and stays where it is."""


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image, where it goes, and the sidecars that go with it."""

    source: Path
    target: Path
    sidecars: tuple[Path, ...] = ()
    """Beside `source`."""
    companions: tuple[Path, ...] = ()
    """What else is called like it there, and stays."""

    def files(self) -> Iterator[tuple[Path, Path]]:
        """Source and target of each file; the image comes first."""
        yield self.source, self.target
        for sidecar in self.sidecars:
            yield sidecar, sidecar_beside(self.target, self.source, sidecar)


@dataclass(frozen=True, slots=True)
class SortingPlan:
    """All that sorting would do; `apply_plan` does it.

    A command prints `to_text()`, and goes on to `apply_plan` where `--yes` is given.
    """

    target: Path
    """The folder to sort into; its sub-folders are named after the labels."""
    how: How
    images: tuple[PlannedImage, ...]
    """In the order of the labelled images."""
    there: int = 0
    """Images whose copy stands in the folder of its label already, by an earlier run."""
    inside: int = 0
    """Images that lie in a sub-folder of `target` already, and stay there."""
    copies: int = 0
    """Images elsewhere that an earlier run made as copies, and that stay there."""
    faults: tuple[Fault, ...] = ()
    """Images that stay where they are, and why."""

    def to_text(self) -> str:
        """What would happen: counts for each folder, the first files, and what stays."""
        return "\n".join([*self._counts(), *self._first_files(), *self._staying(), self._ending()])

    def _counts(self) -> Iterator[str]:
        if not self.images:
            return
        counts = Counter(path_line(Path(image.target.parent.name)) for image in self.images)
        into = path_line(self.target)
        yield f"Would {self.how} {counted(len(self.images), 'image')} into {into}:"
        width = max(map(len, counts))
        for name, number in counts.most_common():
            yield f"  {name:<{width}}  {number:>7,}"
        sidecars = sum(len(image.sidecars) for image in self.images)
        if sidecars:
            yield f"and with them {counted(sidecars, 'sidecar')} (.xmp)."

    def _first_files(self) -> Iterator[str]:
        yield from first_lines(
            [f"{path_line(one.source)} → {path_line(one.target)}" for one in self.images], _LISTED
        )

    def _staying(self) -> Iterator[str]:
        yield from companion_lines(self.images)
        if self.there:
            yield f"{counted(self.there, 'image')} stood there already, with the same content."
        if self.inside:
            yield (
                f"{counted(self.inside, 'image')} in sub-folders of {path_line(self.target)} "
                "stay: they count as sorted."
            )
        if self.copies:
            yield f"{counted(self.copies, 'image')} stay: copies that an earlier run made."
        yield from fault_lines(self.faults, "Staying where they are")

    def _ending(self) -> str:
        if not self.images:
            return "There is nothing to do."
        return "Nothing is done yet: add --yes to do it."


def companion_lines(images: Iterable[PlannedImage]) -> Iterator[str]:
    """Name the files that stay though their names are those of images that go."""
    staying = [path for image in images for path in image.companions]
    if staying:
        named = shortened(map(path_line, staying), _LISTED)
        yield f"{counted(len(staying), 'file')} of the same names stay: {named}."


def plan_sorting(labelled: Iterable[Labelled], target: Path, how: How) -> SortingPlan:
    """Decide for each image in which folder and under which name it goes; nothing is changed.

    An image without a label goes into `none of these`; one that cannot be read stays. With several
    labels the best decides. Sidecars (`sidecars_of`) go with their image. Names never collide: the
    second IMG_1.jpg becomes IMG_1-2.jpg, and one that stands there with the same content counts as
    done, so that a second run has nothing to do. What lies in a sub-folder of `target` stays, so
    that `target` may lie among the images, or be their folder, and is not sorted into itself.

    Args:
        labelled: Images, each once; read as they come.
        target: Folder to sort into; it need not exist.
        how: Whether images are copied or moved.

    Raises:
        ConfigError: Two labels would share a folder, or a folder cannot be sorted into.
        ValueError: An image has no path.
    """
    planner = _Planner(target, how)
    for row in labelled:
        planner.add(row)
    return SortingPlan(
        target,
        how,
        tuple(planner.images),
        there=planner.there,
        inside=planner.inside,
        copies=planner.copies,
        faults=tuple(planner.faults),
    )


class _Planner:
    """Gathers what a plan is made of."""

    def __init__(self, target: Path, how: How) -> None:
        if target.exists() and not target.is_dir():
            raise ConfigError(f"{target} is a file. Name a folder to sort into.")
        self.images: list[PlannedImage] = []
        self.faults: list[Fault] = []
        self.there = self.inside = self.copies = 0
        self._target, self._how, self._root = target, how, target.resolve()
        self._names = FolderNames()
        self._folders: dict[str, TargetFolder] = {}
        self._inside: dict[Path, bool] = {}
        self._recorded: dict[Path, frozenset[Path]] = {}
        self._names_there: dict[Path, defaultdict[str, list[str]]] = {}

    def add(self, row: Labelled) -> None:
        """Decide on one image."""
        if row.path is None:
            raise ValueError("An image without a path cannot be sorted.")
        try:
            if (fault := self._fault(row.path, row.fault)) is not None:
                self.faults.append(Fault(row.path, fault))
            elif self._lies_inside(row.path.parent):
                self.inside += 1
            elif self._is_own_copy(row.path):
                self.copies += 1
            else:
                self._place(row.path, self._folder(row.label))
        except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
            self.faults.append(Fault(row.path, why(error)))

    def _fault(self, path: Path, fault: str | None) -> str | None:
        if fault is None and self._how == "move" and path.is_symlink():
            return "it is a link, which would lead nowhere: copy it, or move what it leads to"
        return fault

    def _place(self, path: Path, folder: TargetFolder) -> None:
        sidecars = sidecars_of(path)
        # A place has to be free even where there is none: the image must not come to one that
        # belongs to another.
        target = folder.place(
            path,
            lambda target: [sidecar_beside(target, path, one) for one in sidecars or (None,)],
        )
        if target is None:
            self.there += 1
        else:
            companions = companions_of(path, self._beside(path))
            self.images.append(PlannedImage(path, target, sidecars, companions))

    def _beside(self, path: Path) -> Sequence[str]:
        """Names in the folder of an image that begin as its own, up to a dot."""
        if path.parent not in self._names_there:
            there = self._names_there[path.parent] = defaultdict(list)
            with suppress(OSError), os.scandir(path.parent) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    there[entry.name.partition(".")[0]].append(entry.name)
        return self._names_there[path.parent][path.name.partition(".")[0]]

    def _folder(self, label: str | None) -> TargetFolder:
        name = self._names.of(label)
        if name not in self._folders:
            if (self._target / name).is_symlink():
                raise ConfigError(
                    f"{path_line(self._target / name)} is a link, and what it leads to is no part "
                    "of the folder to sort into. Remove the link, or name another folder."
                )
            self._folders[name] = TargetFolder(self._target / name)
        return self._folders[name]

    def _is_own_copy(self, path: Path) -> bool:
        """Whether a run that sorted into another folder made it."""
        if path.parent not in self._recorded:
            # The undo file stands above the folders of the labels.
            self._recorded[path.parent] = recorded_copies(path.parent.parent)
        return path in self._recorded[path.parent]

    def _lies_inside(self, folder: Path) -> bool:
        if folder not in self._inside:
            self._inside[folder] = self._root in folder.resolve().parents
        return self._inside[folder]
