"""The settings of the commands, each with its type, default, help and check.

Annotations are evaluated here: cyclopts would evaluate inherited ones in the module of the heir.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from footwork.errors import ConfigError, require_at_least, require_one_of
from footwork.help_page import IMAGES, INDEX, MODEL
from footwork.options import EncoderConfig, Flag
from footwork.settings import Settings
from search.filters import Filter


@dataclass(frozen=True, kw_only=True)
class ModelOptions(EncoderConfig):
    """The model that embeds the images, and how it is run."""

    model_id: Annotated[str | None, Parameter(name=["--model", "--model-id"]), MODEL] = None
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`; if not given, the
    index's, and for a new index openai/clip-vit-base-patch32. Another than the index's, or another
    --decode, makes a second index beside it, which takes its place when it is complete."""
    revision: Annotated[str | None, MODEL] = None
    """Branch, tag or commit of the model on the Hub."""


def from_environment(name: str) -> Parameter:
    """A setting for FOOTWORK_STORE_NAME: a command line can be read by others."""
    return Parameter(env_var=f"FOOTWORK_STORE_{name}", show=False)


@dataclass(frozen=True, kw_only=True)
class StoreOptions(Settings):
    """Which index."""

    index: Annotated[Path | None, Parameter(name=["--index", "-i"]), INDEX] = None
    """Folder of the index, or of photos that were indexed; if not given, that of the folders named,
    or of the folder in which you are, or the only one there is."""
    store: Annotated[str | None, INDEX] = None
    """Address of a Milvus server, http://HOST:19530, in place of a folder. The environment says
    who asks: FOOTWORK_STORE_USER and FOOTWORK_STORE_PASSWORD, or FOOTWORK_STORE_TOKEN."""
    collection: Annotated[str, INDEX] = "footwork"
    """With --store: the name of the index there."""
    user: Annotated[str, from_environment("USER")] = field(default="", repr=False)
    """Of the server."""
    password: Annotated[str, from_environment("PASSWORD")] = field(default="", repr=False)
    """Of the user."""
    token: Annotated[str, from_environment("TOKEN")] = field(default="", repr=False)
    """In place of user and password."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index is not None and self.store is not None:
            raise ConfigError("--index and --store exclude each other. Take one.")
        if self.store is not None:
            _ = self.address
            if not re.fullmatch(r"[A-Za-z_]\w{0,254}", self.collection, re.ASCII):
                raise ConfigError(
                    "`collection` must be letters, digits and _, no digit first, at most 255, "
                    f"got {self.collection!r}."
                )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server; `ConfigError` where `store` names none."""
        try:
            parts = urlsplit(self.store or "")
            port, host = parts.port or _MILVUS_PORT, parts.hostname
        except ValueError:  # the port is no number
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise ConfigError(
                f"A store is named like http://HOST:{_MILVUS_PORT}, got {self.store!r}."
            )
        return host, port


@dataclass(frozen=True, kw_only=True)
class WriteOptions(StoreOptions):
    """Which index, to be written."""

    wait: Annotated[Flag, INDEX] = False
    """Where another process writes the index, wait for its end in place of giving up."""


_MILVUS_PORT = 19530
INDEX_TYPES = ("HNSW", "IVF_SQ8", "IVF_FLAT", "DISKANN", "FLAT")
_RANGES = (("shards", 1, 16), ("replicas", 1, 1024))  # as Milvus has them


@dataclass(frozen=True, kw_only=True)
class NewStoreOptions(WriteOptions):
    """Which index, and how it is laid out on a server if it is new."""

    shards: Annotated[int, INDEX] = 1
    """With --store: channels that writes are spread over."""
    replicas: Annotated[int, INDEX] = 1
    """With --store: copies in the memory of the query nodes."""
    index_type: Annotated[str, INDEX] = "HNSW"
    """With --store: HNSW, IVF_SQ8, IVF_FLAT, DISKANN or FLAT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("index_type", self.index_type, INDEX_TYPES)
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"`{name}` must be {least:,} to {most:,}, got {value}.")


@dataclass(frozen=True, kw_only=True)
class FilterOptions(Settings):
    """Which images are asked for."""

    in_: Annotated[tuple[Path, ...], Parameter(name="--in", negative=""), IMAGES] = ()
    """Only images in this folder or below; several each with an option of its own."""
    since: Annotated[str | None, IMAGES] = None
    """First day, month or year: 2024-05-17, 2024-05, 2024. By when a photo was taken, by the clock
    there, or else by its file's time, by the clock of the machine that indexed it."""
    until: Annotated[str | None, IMAGES] = None
    """Last day, month or year, inclusive."""
    format: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = ()
    """Format of the file: jpeg, png, webp, …; several each with an option of its own."""
    camera: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = ()
    """What the name of the camera begins with, such as Canon; several as of --format."""
    label: Annotated[tuple[str, ...], Parameter(negative=""), IMAGES] = ()
    """A label that `footwork zeroshot label --index` gave; several as of --format."""
    min_width: Annotated[int | None, IMAGES] = None
    """Pixels of the image, as it is viewed."""
    min_height: Annotated[int | None, IMAGES] = None
    """Pixels of the image, as it is viewed."""
    min_bytes: Annotated[int | None, IMAGES] = None
    """Least size of the file."""
    max_bytes: Annotated[int | None, IMAGES] = None
    """Greatest size of the file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.filter()

    def filter(self) -> Filter:
        """The conditions as a store takes them; `ConfigError` where one is wrong."""
        named = {"in_": "folders", "format": "formats", "camera": "cameras", "label": "labels"}
        own = [one.name for one in fields(FilterOptions)]
        return Filter(**{named.get(name, name): getattr(self, name) for name in own})


@IMAGES
@dataclass(frozen=True, kw_only=True)
class QueryOptions(Settings):
    """How a query is answered."""

    top_k: Annotated[int, Parameter(name=["--top-k", "-k"])] = 10
    """Images at most."""
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False
    """Give the best images even where relevance has ended."""
    hybrid: Flag = False
    """Also look for the words in the names of files and folders, and join both by rank; not with
    --store."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "top_k")


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Settings):
    """What is done with an answer."""

    paths: Flag = False
    """Print paths alone, one a line, as they are on the disk."""
    null: Flag = False
    """The same, each ended by NUL in place of a line end, for xargs -0; -0 for short."""
    csv: Flag = False
    """Print CSV."""
    json: Flag = False
    """Print one JSON document; of several queries a line each."""
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None
    """File to write, .csv, .tsv, .jsonl or .parquet."""
    raw_cells: Flag = False
    """In CSV and TSV, leave alone what begins like a formula (=, +, -, @): otherwise a ' is put
    before it, so that no spreadsheet runs the name of a file."""
    html: Path | None = None
    """File for a contact sheet: one page with thumbnails."""
    copy_to: Path | None = None
    """Folder to copy the images into; nothing there is overwritten."""
    preview: Flag = False
    """Show the images in the terminal."""
    exit_status: Flag = False
    """End with exit code 4 where nothing matches: 0 is then a hit, and 1 a failure as ever."""

    def __post_init__(self) -> None:
        super().__post_init__()
        printed = [n for n in ("paths", "null", "csv", "json", "preview") if getattr(self, n)]
        if len(printed) > 1 and printed != ["paths", "null"]:
            flags = " and ".join(f"--{name}" for name in printed)
            raise ConfigError(f"{flags} exclude each other on the standard output. Take one.")
