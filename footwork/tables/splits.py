"""From what the user calls DATA to its splits: a path, a data set of the Hub, or what is held."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footwork.errors import DataError, ModelError, error_text
from footwork.files.faults import shortened
from footwork.files.paths import user_path
from footwork.images.finding import IMAGE_ENDINGS
from footwork.tables.held import data_name, is_held
from footwork.tables.reader import TABLE_ENDINGS

SPLIT_NAMES = {
    "train": ("train", "training", "trainval"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
"""Splits, in their order → what files and folders of theirs may be called."""
SPLITS = tuple(SPLIT_NAMES)
JUDGED = SPLITS[::-1]
"""The split that is judged or answered, if there are several: the first of these."""
_HUB_ID = re.compile(r"\w[\w.-]*(?:/[\w.-]+)?(?::[\w.-]+)?")

Notes = tuple[str, ...]
SplitsOfFolder = Callable[[Path], tuple[Mapping[str, Any], Notes]]
"""What a folder names by splits, none where it is one, and notes on the choice."""


@dataclass(frozen=True, slots=True)
class Part:
    """What holds the rows of one split."""

    data: Any
    """A path, or a table that is held."""
    name: str
    """For messages."""


def one_split(data: Any, of_folder: SplitsOfFolder, wanted: Sequence[str]) -> tuple[Part, Notes]:
    """The first of the splits that are `wanted`; otherwise as `find_splits`."""
    found, notes = find_splits(data, of_folder, wanted)
    split = next(split for split in wanted if split in found)
    chosen = (f"Of {data_name(data)} the {split} split is used.",) if len(found) > 1 else ()
    return found[split], (*chosen, *notes)


def find_splits(
    data: Any, of_folder: SplitsOfFolder, needed: Sequence[str] = SPLITS
) -> tuple[dict[str, Part], Notes]:
    """The splits of a data set, in their order, and notes on what is read of it.

    Args:
        data: Path of a file or a folder, or a Hub id (`name`, `owner/name`, `owner/name:config`);
            or a table as `held_rows` takes it, or a mapping of splits to any of these, as a
            `datasets.DatasetDict` is; what `train` names may have further splits of its own. What
            names no splits is `train`.
        of_folder: Finds splits in a folder.
        needed: Of these there must be one.

    Raises:
        DataError: Nothing is there, it has none of the splits that are needed, or it cannot be
            loaded.
        ConfigError: Of a Hub data set no configuration is named.
    """
    name, (opened, notes) = data_name(data), open_data(data)
    named = opened if isinstance(opened, Mapping) else {}
    if not is_held(opened) and opened.is_dir():
        named, notes = of_folder(opened)
    if not named:
        return {"train": Part(opened, name)}, notes
    keys = _split_keys(named)
    if not keys.keys() & set(needed):
        raise DataError(
            f"{name} has no split {' or '.join(needed)}; it has {shortened(map(repr, named))}. "
            "Give the one that you want as DATA itself; of the Hub, write it to a file first "
            f"(to_parquet of `datasets`).{hint_of_columns(named)}"
        )
    if unread := [repr(key) for key in named if key not in keys.values()]:
        beside = ", ".join(map(repr, keys.values()))
        notes = (*notes, f"Not read of {name}, beside {beside}: {shortened(unread)}.")
    if isinstance(data, Mapping):
        found, more = _given_splits(
            {split: named[key] for split, key in keys.items()}, name, of_folder
        )
        return found, (*notes, *more)
    told = {key: f"{name} ({key})" if is_held(named[key]) else str(named[key]) for key in named}
    return {split: Part(named[key], told[key]) for split, key in keys.items()}, notes


def _given_splits(
    parts: Mapping[str, Any], name: str, of_folder: SplitsOfFolder
) -> tuple[dict[str, Part], Notes]:
    """What a caller has given by split, the train with what it holds beside; and notes."""
    found: dict[str, Part] = {}
    notes: list[str] = []
    for split, part in parts.items():
        own = {split: Part(part, f"{name} ({split})")}
        if not is_held(part) or isinstance(part, Mapping):
            own, said = find_splits(part, of_folder, ("train",) if split == "train" else SPLITS)
            notes += said
        if split == "train":
            found = own
            continue
        if split not in own and len(own) > 1:
            raise DataError(f"{data_name(part)} must be one {split}; it has {', '.join(own)}.")
        if split in found:
            notes.append(f"The {split} of {name} itself is not read: another one is given.")
        found[split] = own.get(split) or next(iter(own.values()))
    return {split: found[split] for split in SPLITS if split in found}, tuple(notes)


def open_data(data: Any) -> tuple[Any, Notes]:
    """A path, or what is held: as what `datasets` saved to disk and a data set of the Hub are.

    With the note of `configuration_note`; a `DataError` where there is nothing that can be read.
    """
    if is_held(data):
        return data, ()
    path, name = user_path(data), str(data)
    if not name:
        raise DataError("DATA is empty. Name a file, a folder or a data set of the Hub.")
    try:
        path.stat()
    except FileNotFoundError as error:
        if not may_be_of_hub(name):
            raise DataError(f"There is no file or folder {name!r}. Check the path.") from error
        from footwork.tables.hub_datasets import load_hub_dataset

        loaded = load_hub_dataset(name)
        return loaded, configuration_note(loaded, name)
    except (OSError, ValueError) as error:  # it may not be looked at, or nothing can be called so
        reason = getattr(error, "strerror", None) or error_text(error)
        raise DataError(f"{name} cannot be read: {reason}.") from error
    saved = saved_data(path)
    return (path if saved is None else saved), ()


def _split_keys(named: Mapping[Any, Any]) -> dict[str, Any]:
    """Split → what `named` calls it: by its name, else by the first word of one."""
    keys: dict[str, Any] = {}
    for split, names in SPLIT_NAMES.items():
        alike = [key for name in names for key in named if str(key).lower() == name]
        begun = [key for name in names for key in named if str(key).lower().split("_")[0] == name]
        if found := alike or begun:
            keys[split] = found[0]
    return keys


def with_splits(data: Any, validation: Any = None, test: Any = None) -> Any:
    """`data` with what is given beside it, as a mapping of splits; itself where that is nothing."""
    given = {"validation": validation, "test": test}
    beside = {split: part for split, part in given.items() if part is not None}
    return {"train": data, **beside} if beside else data


def may_be_of_hub(name: str) -> bool:
    """Whether a data set of the Hub may be called so: `name`, `owner/name`, `owner/name:config`."""
    ending = Path(name).suffix.lower()
    return ending not in (*TABLE_ENDINGS, *IMAGE_ENDINGS) and bool(_HUB_ID.fullmatch(name))


def configuration_note(loaded: Any, name: str) -> tuple[str, ...]:
    """Which configuration was taken where none was named and it has a name of its own."""
    parts = loaded.values() if isinstance(loaded, Mapping) else ()
    config = getattr(next(iter(parts), None), "config_name", None)
    if ":" in name or config in (None, "default"):
        return ()
    return (f"Of {name} the configuration {config!r} is read.",)


def hint_of_columns(data: Mapping[str, Any]) -> str:
    """What to do with columns, as `datasets` slices them, in place of splits; else nothing."""

    def is_column(part: Any) -> bool:
        rows = isinstance(part, list | tuple) and isinstance(next(iter(part), None), Mapping)
        is_table = hasattr(part, "columns") or hasattr(part, "column_names")
        is_table |= rows or isinstance(part, Mapping)
        return is_held(part) and hasattr(part, "__len__") and not is_table

    told = " Columns become a table by pandas.DataFrame(data) or datasets.Dataset.from_dict(data)."
    return told if all(map(is_column, data.values())) else ""


def saved_data(folder: Path) -> Any | None:
    """What `datasets` saved to disk as a folder: a Dataset or a DatasetDict; None if it is no such.

    A `DataError` where it cannot be read.
    """
    splits, state = folder / "dataset_dict.json", "state.json"
    if not splits.is_file() and not (folder / state).is_file():
        return None
    import datasets

    from footwork.files.folders import plain_name, read_json

    try:
        names = read_json(splits)["splits"] if splits.is_file() else ()
        for part in [folder / plain_name(name, splits) for name in names] or [folder]:
            for file in read_json(part / state)["_data_files"]:
                plain_name(file["filename"], part / state)
        return datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, ModelError) as error:
        raise DataError(
            f"{folder} cannot be read as what `datasets` saves to disk: {error_text(error)}. Save "
            "it again, or write each split with to_parquet, as train.parquet and so on."
        ) from error
