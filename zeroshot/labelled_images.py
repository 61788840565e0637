"""Images whose class is known: one sub-folder a class, or a table of images and labels.

What reads, splits, embeds and proves them knows files alone: images in memory become such.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import FloatArray
from footwork.class_names import checked_class_names, class_name, look_alike
from footwork.console import watched
from footwork.encoder.protocol import FileEncoder
from footwork.errors import ConfigError, DataError, ImageError
from footwork.files.faults import counted, shortened, why
from footwork.files.paths import path_line, path_text
from footwork.images.finding import (
    find_images,
    has_image_ending,
    is_folder,
    is_visible,
    natural_key,
    unread_notes,
    why_missing,
)
from footwork.images.held import held_image, kind_of, write_image
from footwork.prompts.templates import spoken
from footwork.tables.cells import text_of
from footwork.tables.columns import find_column, find_name, label_names, normalise_name
from footwork.tables.held import held_rows, is_held
from footwork.tables.labels import (
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    Cell,
    Fault,
    LabelKind,
    encode_targets,
    infer_kind,
    kind_for_model,
    label_cells,
    resolve_task,
    split_cell,
    unlabelled,
)
from footwork.tables.layout import Expected, TableFormat
from footwork.tables.splits import JUDGED, SPLIT_NAMES, Notes, Part, one_split

if TYPE_CHECKING:
    from footwork.tables.reader import Table

_PATH_COLUMNS = """
path image file image_path img_path file_path filepath image_file file_name filename image_name img
paths images files photo photos
"""
_LABEL_COLUMNS = "label class labels class_name category classes categories target tag y"
_CODE = re.compile(r"n?\d+")
_CALLED_LIKE_SPLITS = {name for names in SPLIT_NAMES.values() for name in names}
_LISTED = 5
_HOW = (
    "Give a folder with one sub-folder of images a class, a table with a column `path` and a "
    "column `label`, or the Hub id of a data set."
)


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """An image, or a row that should name one, that was left out."""

    place: str
    """Its path, or its table and row."""
    reason: str
    """A clause such as "it is truncated"."""

    def __str__(self) -> str:
        return f"{path_line(self.place)}: {self.reason}."


def without_folder(skipped: Iterable[SkippedImage], files: object) -> tuple[SkippedImage, ...]:
    """The same, of images in memory relative to the folder of their files, which will be gone."""
    return tuple(replace(each, place=each.place.removeprefix(f"{files}/")) for each in skipped)


def lacks_images(name: str, reasons: Iterable[object]) -> DataError:
    """The error of a class without an image; of the reasons, sentences, the first is told."""
    why = next((f" {reason}" for reason in reasons), "")
    return DataError(f"The class {name!r} has no image.{why} Add images to it, or remove it.")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """N images of C classes."""

    source: str
    """The folder or the table."""
    class_names: tuple[str, ...]
    """C names, as they are written, naturally sorted."""
    paths: tuple[Path, ...]
    targets: NDArray[Any]
    """Shape (N,), class numbers; (N, C) zeros and ones where an image may have several labels."""
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader of the figures should know, one sentence each."""

    @property
    def task(self) -> str:
        """A `problem_type` of transformers."""
        return SINGLE_LABEL if self.targets.ndim == 1 else MULTI_LABEL

    def targets_among(self, names: Sequence[str]) -> NDArray[Any]:
        """Targets by the places of the classes among `names`, which has all of them."""
        places = np.array([names.index(name) for name in self.class_names], np.int64)
        if self.targets.ndim == 1:
            return places[self.targets]
        targets = np.zeros((len(self.targets), len(names)), self.targets.dtype)
        targets[:, places] = self.targets
        return targets


def read_labelled_images(source: Any, files: Path | None = None) -> LabelledImages:
    """Find the images of each class; none is opened.

    Args:
        source: A folder with one sub-folder a class (images may lie deeper in it), or a CSV, TSV,
            JSON lines or Parquet table, a data set of the Hub, or a table as `footwork.tables.held`
            takes it, whose images may be paths, or in memory as `footwork.images.held` takes them.
            Of splits the first of `JUDGED`. Paths in a file's table begin at its folder, others at
            the current one. The columns are known by their names, such as `path` and `label`, or by
            what they hold.
        files: Where images in memory are written, each as a file named by its row.

    Raises:
        DataError: It does not exist, or holds no images with classes.
    """
    part, said = one_split(source, split_folders, JUDGED)
    images = images_of(part, files=files)
    return replace(images, notes=(*said, *images.notes))


@dataclass(frozen=True, slots=True)
class StatedLabels:
    """What is stated of the labels of a table."""

    task: str | None = SINGLE_LABEL
    """A `problem_type` of transformers; None finds out which."""
    column: tuple[str, ...] | str | None = None
    """Its name, or those of several of 0 and 1."""
    separator: str | None = None
    """Of several labels in one cell."""
    names: tuple[str, ...] = ()
    """Of the classes by their places in vectors of 0 and 1."""
    known: tuple[str, ...] = ()
    """The labels of a classifier that is judged: such data may call its column otherwise."""


def images_of(
    part: Part, stated: StatedLabels = StatedLabels(), files: Path | None = None
) -> LabelledImages:
    """As `read_labelled_images`, of one split; of a table they may have several labels each."""
    path = part.data
    if is_held(path) or not path.is_dir():
        if not is_held(path) and has_image_ending(path.name):
            raise DataError(f"{path} is one image. {_HOW}")
        return _images_of_table(*read_image_table(part, files), stated)
    about_tables = stated.column or stated.separator or stated.names
    if stated.task == MULTI_LABEL or (about_tables and not stated.known):
        leave = "" if stated.known else ", or leave them out"
        raise ConfigError(
            "Only a table says which images have several labels (`task`, `label_column`, "
            f"`label_separator`, `labels`), and {part.name} is a folder. Name a table{leave}."
        )
    images = _class_folders(path)
    return replace(images, notes=(*images.notes, *_name_notes(images.class_names)))


def split_folders(folder: Path) -> tuple[dict[str, Path], Notes]:
    """The sub-folders of a folder by their names, where all are called like splits.

    Several that are, and hold folders, beside others are a `DataError`: they are no classes.
    """
    below = _folders_in(folder)
    others = sorted(name for name in below if name.lower() not in _CALLED_LIKE_SPLITS)
    splits = sorted(name for name in below.keys() - others if _folders_in(below[name]))
    if others and len(splits) > 1:
        raise DataError(
            f"{folder} holds the splits {', '.join(splits)} and beside them what is none: "
            f"{shortened(others, _LISTED)}. Move that elsewhere, or name one: {folder / splits[-1]}"
        )
    if others or not below:
        return {}, ()
    if not splits:
        raise DataError(
            f"The sub-folders of {folder} are called like splits ({', '.join(sorted(below))}), and "
            f"there is no class in them. {_HOW}"
        )
    return below, ()


def _folders_in(folder: Path) -> dict[str, Path]:
    entries = (entry for entry in folder.iterdir() if is_visible(entry.name))
    return {entry.name: entry for entry in entries if is_folder(entry)}


def embed_labelled_images(
    encoder: FileEncoder, images: LabelledImages
) -> tuple[LabelledImages, FloatArray]:
    """Embed every image once; those that cannot be read become `skipped`.

    Returns:
        The N readable images, and their rows (N, D).

    Raises:
        DataError: None can be read.
    """
    rows, kept, lost = embed_files(encoder, images.paths)
    if not kept:
        raise DataError(
            f"None of the {len(images.paths)} images of {images.source} can be read. The first: "
            f"{lost[0].place}: {lost[0].reason}."
        )
    paths, skipped = tuple(images.paths[number] for number in kept), (*images.skipped, *lost)
    return replace(images, paths=paths, targets=images.targets[kept], skipped=skipped), rows


def embed_files(
    encoder: FileEncoder, paths: Iterable[Path]
) -> tuple[FloatArray, list[int], tuple[SkippedImage, ...]]:
    """Embed N files; those that cannot be read are told.

    Returns:
        The rows of M that could be read, (M, D), their numbers, and the others.
    """
    rows, kept, skipped = [], [], []
    every = list(paths)
    shown = watched(encoder.encode_files(every), "embedding", "images", len(every))
    for number, encoded in enumerate(shown):
        if encoded.embedding is None:
            skipped.append(SkippedImage(path_text(encoded.path), encoded.fault or "it is no image"))
        else:
            rows.append(encoded.embedding)
            kept.append(number)
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32), kept, tuple(skipped)


def embeddings_hash(rows: FloatArray) -> str:
    """By which embeddings of the same images, (N, D), are known again."""
    return sha256(np.ascontiguousarray(rows, dtype="<f4").tobytes()).hexdigest()


def _images_of_table(table: Table, folder: Path, stated: StatedLabels) -> LabelledImages:
    """The images of what `read_image_table` has read; rows without a label are skipped."""
    path, (image_column, label_columns) = table.source, _find_columns(table, stated)
    cells = label_cells([table.columns[name] for name in label_columns])
    kind = _kind_of(cells, table, stated, label_columns if len(label_columns) > 1 else ())
    takes_one = kind.task == SINGLE_LABEL and not kind.vector
    skipped = [SkippedImage(f"{path}, row {row.row}", row.reason) for row in table.skipped]
    labels: dict[Path, list[str]] = {}
    rows = zip(table.rows, table.columns[image_column], cells, strict=True)
    for row, image, cell in rows:
        labelled, reason = split_cell(cell, kind), _image_fault(image)
        if isinstance(cell, list) and len(cell) > 1 and takes_one:
            reason = reason or f"it has several labels, {cell!r}; one is needed"
        elif isinstance(labelled, Fault):
            reason = reason or labelled.reason
        elif reason is None:
            known = labels.setdefault(_path_of(folder, image), labelled)
            if known == labelled:
                continue
            reason = f"{image} has the label {', '.join(map(repr, known)) or 'none'} already"
        skipped.append(SkippedImage(f"{path}, row {row}", reason))
    if not labels:
        raise DataError(f"{path} names no image with a label: {skipped[0].reason}. {_HOW}")
    taken = f"labels from {', '.join(map(repr, label_columns))}"
    notes = [f"Images are taken from the column {image_column!r}, {taken}.", *kind.notes]
    notes += unlabelled(labels.values(), kind, path)
    again = len(table.rows) + len(table.skipped) - len(skipped) - len(labels)
    if again:
        repeat = "row repeats" if again == 1 else "rows repeat"
        notes.append(f"{again} {repeat} an image with its label: it counts once.")
    found = set(chain.from_iterable(labels.values()))
    class_names = kind.vector or tuple(sorted(found, key=natural_key))
    return LabelledImages(
        source=path,
        class_names=class_names,
        paths=tuple(labels),
        targets=encode_targets([*labels.values()], class_names, kind.task),
        skipped=tuple(skipped),
        notes=(*notes, *_name_notes(class_names)),
    )


def _kind_of(
    cells: Sequence[Cell], table: Table, stated: StatedLabels, names: Sequence[str]
) -> LabelKind:
    names = names or stated.names
    if stated.known and stated.task:
        how = (stated.separator, stated.known, resolve_task(stated.task), names)
        return kind_for_model(cells, table.source, *how)
    kind = infer_kind(cells, table, stated.task, stated.separator, names)
    if kind.task == REGRESSION:
        amounts = f"The labels of {table.source} are amounts."
        raise DataError(f"{amounts} Images are told apart by classes.")
    return kind


def _path_of(folder: Path, image: Path | str) -> Path:
    """Of an image; a table of ours has a ' before a name that a spreadsheet would run."""
    if isinstance(image, Path):
        return folder / image
    image = image.strip()
    place, other = folder / image, folder / text_of(image)
    # `os.path` takes a name that is too long for one that is not there.
    return other if other != place and not os.path.exists(place) else place  # noqa: PTH110


def read_image_table(part: Part, files: Path | None = None) -> tuple[Table, Path]:
    """A table, with images in memory as files, and the folder that its paths begin at.

    `files` is as for `read_labelled_images`. The first row of a file names columns where it names
    no image among rows that do.
    """
    from footwork.tables.reader import gathered, iterate_rows

    def filed(row: int, cells: dict[str, Any]) -> dict[str, Any]:
        return {
            name: _as_file(cell, files and files / f"row {row}, column {column}")
            for column, (name, cell) in enumerate(cells.items(), start=1)
        }

    if is_held(part.data):
        return gathered(held_rows(part.data, part.name, skip_bad_rows=True), filed), Path()
    path, read = Path(part.data), TableFormat(skip_bad_rows=True)
    table = gathered(iterate_rows(path, read, Expected(labelled=True)), filed)
    # A pipe gives its content only once.
    if table.layout is None or table.layout.header_rows or not path.is_file():
        return table, path.parent
    images = next((cells for cells in table.columns.values() if _name_images(cells)), None)
    if images is None or _name_images(images[:1]):
        return table, path.parent
    named = replace(read, header=True)
    return gathered(iterate_rows(path, named, Expected(labelled=True))), path.parent


def _as_file(cell: Any, place: Path | None) -> Any:
    """A path for an image in memory, or the `ImageError` that says why it is none."""
    if cell is None or isinstance(cell, (str, int, float, list)):
        return cell
    try:
        image = held_image(cell)
    except (ImageError, OSError, ValueError) as error:  # of a closed file it is a ValueError
        return ImageError(kind_of(cell), why(error))
    if image is None or isinstance(image, Path):
        return image or cell
    if place is None:
        raise ValueError("`files` must name a folder for images that are in memory.")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_image(image, place)
    except ImageError as error:
        return error
    return place


def _find_columns(table: Table, stated: StatedLabels) -> tuple[str, tuple[str, ...]]:
    """The column of images, and that of labels, or those that are stated."""
    named = label_names(table.columns, stated.column) if stated.column else ()
    if not stated.known or all(find_name(table.columns, name) for name in named):
        named = tuple(find_column(table.columns, name, table.source) for name in named)
    else:
        named = ()
    others = {name: cells for name, cells in table.columns.items() if name not in named}
    images = _named(others, _PATH_COLUMNS, _name_images) or next(
        (name for name, cells in others.items() if _name_images(cells)), None
    )
    rest = {name: cells for name, cells in others.items() if name != images}
    only = next(iter(rest)) if len(rest) == 1 else None
    found = _named(rest, _LABEL_COLUMNS, lambda _: True) or only
    labels = named or ((found,) if found else ())
    if images is None or not labels:
        lacking = "images" if images is None else "labels"
        raise DataError(
            f"It is not clear which column of {table.source} holds the {lacking}; it has "
            f"{', '.join(map(repr, table.columns))}. Name them `path` and `label`."
        )
    return images, labels


def _named(
    columns: Mapping[str, Sequence[Any]],
    names: str,
    fits: Callable[[Sequence[Any]], bool],
) -> str | None:
    """The column with the first of `names`; one that fits goes before one that does not."""
    by_key = {normalise_name(name): name for name in reversed(list(columns))}
    known = [by_key[name] for name in names.split() if name in by_key]
    return next((name for name in known if fits(columns[name])), known[0] if known else None)


def _name_images(cells: Sequence[Any]) -> bool:
    named = sum(
        has_image_ending(cell.strip())
        if isinstance(cell, str)
        else isinstance(cell, (Path, ImageError))
        for cell in cells
    )
    return 2 * named > len(cells)


def _image_fault(image: Any) -> str | None:
    if isinstance(image, ImageError):
        return image.reason
    if isinstance(image, Path) or (isinstance(image, str) and image.strip()):
        return None
    if image is None or isinstance(image, (str, int, float)):
        return "it names no image file"
    return f"it holds no image but {kind_of(image)}"


def _name_notes(class_names: Sequence[str]) -> list[str]:
    """Classes that say nothing to a model that reads, and those that look like one another."""
    notes = [
        "Classes that differ only in case, spaces, dashes or how a value is written: "
        f"{shortened(map(repr, names), _LISTED)}."
        for names in look_alike(class_names)
    ]
    if codes := [repr(name) for name in class_names if _CODE.fullmatch(name)]:
        named = shortened(codes, _LISTED)
        notes.append(f"Classes named by numbers say nothing to a model that reads: {named}.")
    return notes


_LAYOUT = "Examples stand in one sub-folder a class: FOLDER/cat/1.jpg, FOLDER/dog/2.jpg."
_MEANS_NO_CLASS = frozenset({"none", "none of these", "none of them", "no label"})


def read_examples(source: Any, files: Path | None = None) -> LabelledImages:
    """The images of each class, a sub-folder and what lies deeper in it; nothing is decoded.

    `source` may be a table, too, as for `read_labelled_images`; of splits the train is taken. A
    `DataError` where there are not two classes, one holds no image, or names cannot be told apart.
    """
    part, said = one_split(source, split_folders, ("train",))
    images = images_of(part, files=files)
    if len(images.class_names) == 1:
        only = images.class_names[0]
        raise DataError(f"{images.source} has one class, {only!r}: nothing to tell it from.")
    _require_readable_names(images.class_names)
    return replace(images, notes=(*said, *images.notes))


def _class_folders(folder: Path) -> LabelledImages:
    fault = why_missing(folder)
    if fault is not None:
        raise DataError(f"Cannot read examples in {folder}: {fault}. {_LAYOUT}")
    visible = [entry for entry in folder.iterdir() if is_visible(entry.name)]
    entries = sorted(visible, key=lambda entry: natural_key(entry.name))
    classes = [entry for entry in entries if is_folder(entry)]
    loose = [entry.name for entry in entries if entry not in classes]
    loose = [name for name in loose if has_image_ending(name)]
    names = tuple(class_name(entry.name) for entry in classes)
    if not names:
        held = f"{counted(len(loose), 'image')} but no sub-folder" if loose else "no image"
        raise DataError(f"{folder} holds {held}. {_LAYOUT}")
    _require_readable_names(names)
    lonely = counted(len(loose), "image beside", "images beside")
    belong = "belongs" if len(loose) == 1 else "belong"
    notes = [f"{lonely} the class folders {belong} to no class."] if loose else []
    found = []
    for entry in classes:
        try:
            found.append(find_images([entry]))
        except DataError as error:
            raise lacks_images(entry.name, [error]) from error
    unread = sum((images.unread for images in found), Counter[str]())
    return LabelledImages(
        source=str(folder),
        class_names=names,
        paths=tuple(path for images in found for path in images.paths),
        targets=np.repeat(np.arange(len(names)), [len(images.paths) for images in found]),
        notes=(*notes, *(note for images in found for note in images.notes), *unread_notes(unread)),
    )


def _require_readable_names(names: Sequence[str]) -> None:
    """Refuse names that a model would read alike, or as no class, or that cannot be printed."""
    known: dict[str, str] = {}
    for name in names:
        words = spoken(name).casefold()
        if words in _MEANS_NO_CLASS:
            raise DataError(
                f"The class {name!r} reads like the answer for images of no class. Rename it by "
                "what it shows, background for one, or leave it out."
            )
        if not words:
            raise DataError(f"The class {name!r} has no word in its name. Rename it.")
        if words in known:
            raise DataError(f"The classes {known[words]!r} and {name!r} read the same. Rename one.")
        known[words] = name
    checked_class_names(names)  # bytes that are no UTF-8 could not be published
