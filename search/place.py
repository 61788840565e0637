"""Where an index is: a folder on this machine, or a server; of its generations one is searched.

A generation is a whole index of one model. It is made beside the one that is searched, and takes
its place when it is complete; a reader that still has the old one open may finish.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from footwork.errors import FootworkError, StoreError
from footwork.files.folders import MANIFEST, discard_folder, followed, published_folder, write_json
from footwork.files.locks import LockedByOther, exclusive_lock, lock_holder
from footwork.files.paths import shell_word, user_path
from footwork.files.plain_files import read_object, require_no_link
from footwork.home import cache_folder, data_folder
from search.options import StoreOptions
from search.paths import absolute_path, is_at_or_below, is_within
from search.store.embedded.catalog import COPY_NAME
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Embedder

if TYPE_CHECKING:
    from search.store.server.connection import Connection
    from search.store.server.store import ServerStore

KIND, FORMAT = "index", 1
_LOCK = "writer.lock"
_TEXTS = "texts"
_GENERATION = "generation-"
_TEMPORARY = (f".{MANIFEST}.*", f".{_GENERATION}*")
_TEMPORARY_INSIDE = tuple(
    f".{name}.*" for name in (_TEXTS, "approximate.json", "approximate-*.faiss", COPY_NAME)
)
_NUMBERED = re.compile(f"{_GENERATION}[0-9]{{1,9}}")
_NAME = 40  # characters of a root's name in the name of its index
_DIGITS = 12  # of a model in the name of what belongs to it

Place: TypeAlias = "IndexFolder | ServerPlace"
"""An index that is there or may be made there."""
_Indexes: TypeAlias = "dict[IndexFolder, tuple[list[str], bool]]"


class IndexFolder:
    """An index in a folder of this machine, which need not exist.

    `on_wait` is told who writes, where another process does and its end is waited for.
    """

    def __init__(self, path: Path, on_wait: Callable[[str], None] | None = None) -> None:
        self.path, self.on_wait = user_path(path), on_wait

    def __str__(self) -> str:
        return str(self.path)

    @property
    def option(self) -> str:
        """What names it on the command line."""
        return f"--index {shell_word(self.path)}"

    @property
    def exists(self) -> bool:
        """Whether there is an index."""
        return (self.path / MANIFEST).is_file()

    @property
    def holds_others(self) -> bool:
        """Whether its folder holds what is of no index, so that none can be made there."""
        is_own = self.exists or (self.path / _LOCK).exists() or self.generations()
        return not is_own and any(self.path.glob("*"))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to write; `StoreError` where nobody can, or another process does.

        The latter only if it is not waited for.
        """
        lock = self.path / _LOCK
        with ExitStack() as held:
            try:
                self._require_no_other()
                followed(self.path).mkdir(parents=True, exist_ok=True)
                try:
                    held.enter_context(exclusive_lock(lock))
                except LockedByOther as error:
                    if self.on_wait is None:
                        raise
                    self.on_wait(str(error))
                    held.enter_context(exclusive_lock(lock, wait=True))
                require_no_link(self.path / MANIFEST)
                for path in self.left_over():
                    is_folder = path.is_dir() and not path.is_symlink()
                    shutil.rmtree(path) if is_folder else path.unlink()
            except LockedByOther as error:
                raise StoreError(
                    f"The index in {self.path} is being written by {error}. Wait for its end, as "
                    "footwork search index does with --wait, and update with wait=True."
                ) from error
            except OSError as error:  # a medium that cannot be written among them
                raise StoreError(
                    f"The index in {self.path} cannot be written: {error.strerror}. Make it "
                    "writable, or name another with --index."
                ) from error
            yield

    def _require_no_other(self) -> None:
        """Refuse a folder of something else; a damaged manifest passes, to be repaired."""
        if self.holds_others:
            raise StoreError(
                f"{self.path} holds other files. Name an empty or a new folder with --index."
            )
        with suppress(OSError, ValueError):
            self._require_index(read_object(self.path / MANIFEST))

    def left_over(self) -> list[Path]:
        """Temporary files and folders of `footwork.files.folders`, of a process that was killed."""
        inside = [one.glob(form) for one in self.generations() for form in _TEMPORARY_INSIDE]
        found = sorted({*chain(*(self.path.glob(form) for form in _TEMPORARY), *inside)})
        return [path for path in found if not _is_being_written(path)]

    def writer(self) -> str | None:
        """Who writes at the moment; None where nobody does."""
        return lock_holder(self.path / _LOCK)

    def open(self) -> EmbeddedStore:
        """The generation that is searched; `StoreError` where there is none that can be read."""
        generation = self.current()
        try:
            return EmbeddedStore(generation)
        except StoreError:
            if self.current() == generation:
                raise
            return EmbeddedStore(self.current())  # which was published in between

    def begin(self, embedder: Embedder) -> EmbeddedStore:
        """The generation of a model, made or taken up again; the first one is searched at once.

        `StoreError` where it cannot be written.
        """
        generation = self._generation_of(embedder)
        if generation is None:  # it appears whole: one that lacks anything could not be opened
            numbers = [int(one.name.removeprefix(_GENERATION)) for one in self.generations()]
            generation = self.path / f"{_GENERATION}{max(numbers, default=0) + 1}"
            try:
                with published_folder(generation) as staging:
                    EmbeddedStore.create(staging, embedder).close()
            except OSError as error:
                raise StoreError(
                    f"{generation} cannot be written: {error.strerror}. Name another with --index."
                ) from error
        if not self.exists:  # searched while it grows
            self.name_current(generation, embedder)
        return EmbeddedStore(generation)

    def publish(self, embedder: Embedder) -> None:
        """Have the generation of a model searched, and delete the others."""
        complete = self._required(embedder)
        self.name_current(complete, embedder)
        for generation in self.generations():
            if generation != complete:
                discard_folder(generation, generation)

    def texts_folder(self, embedder: Embedder) -> Path:
        """Where the text half of a generation's model lies, or is to lie."""
        return self._required(embedder) / _TEXTS

    def _required(self, embedder: Embedder) -> Path:
        generation = self._generation_of(embedder)
        if generation is None:
            raise StoreError(
                f"The index in {self.path} has no generation of {embedder.model_id}. Run the "
                "command again; if it fails once more: footwork search doctor."
            )
        return generation

    def _generation_of(self, embedder: Embedder) -> Path | None:
        for generation in self.generations():
            with closing(EmbeddedStore(generation)) as store:
                if store.embedder.fingerprint == embedder.fingerprint:
                    return generation
        return None

    def current(self) -> Path:
        """The folder of the generation that is searched; `StoreError` where none is told."""
        if not self.exists:
            raise StoreError(
                f"No index in {self.path}. Make one: footwork search index FOLDER; or name the "
                "folder of the index, where it was given one."
            )
        try:
            found = read_object(self.path / MANIFEST)
        except (OSError, ValueError) as error:
            raise self._damaged("cannot be read") from error
        self._require_index(found)
        if found.get("format") != FORMAT:
            raise StoreError(
                f"The index in {self.path} has format {found.get('format')!r:.40}; this version of "
                f"Footwork reads format {FORMAT}. Take the version that made it, or index anew."
            )
        name = found.get("generation")
        if not (isinstance(name, str) and _NUMBERED.fullmatch(name)):
            fault = self._damaged(f"names {name!r:.300} in place of {_GENERATION}1 or the like")
            raise fault from ValueError(name)
        if (self.path / name).is_symlink():
            raise StoreError(
                f"{self.path / name} is a link, and a generation of an index is a folder itself. "
                "Move the folder here, or copy it."
            )
        return self.path / name

    def _require_index(self, manifest: Mapping[str, Any]) -> None:
        if manifest.get("kind") != KIND:
            raise StoreError(
                f"{self.path} is no index but something else that Footwork made. Name a folder "
                "that footwork search index made, or another one for a new index, with --index."
            )

    def _damaged(self, what: str) -> StoreError:
        manifest = self.path / MANIFEST
        return StoreError(f"{manifest} {what}. footwork search doctor --repair writes it again.")

    def generations(self) -> list[Path]:
        """The folders of all generations, the oldest first; what links lead to is none."""
        found = [
            path
            for path in self.path.glob(f"{_GENERATION}*")
            if _NUMBERED.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        ]
        return sorted(found, key=lambda path: int(path.name.removeprefix(_GENERATION)))

    def name_current(self, generation: Path, embedder: Embedder) -> None:
        """Have a generation searched."""
        told = {"kind": KIND, "format": FORMAT, "generation": generation.name}
        write_json(self.path / MANIFEST, told | {"model": asdict(embedder), "dtype": "float32"})


def _is_being_written(path: Path) -> bool:
    """Whether it is of a query that lives, which prepares texts without the right to write."""
    lock = path.with_name(f"{_TEXTS}.lock")
    return path.name.startswith(f".{_TEXTS}.") and lock_holder(lock) is not None


class ServerPlace:
    """An index on a Milvus server: a collection a generation, and an alias for the one searched.

    Methods are as those of `IndexFolder`. Of the options of a command, `store` is given.
    """

    def __init__(self, options: StoreOptions) -> None:
        self._options = options

    def __str__(self) -> str:
        return f"{self._options.store}, collection {self._options.collection}"

    @property
    def option(self) -> str:
        """As of `IndexFolder`."""
        options = self._options
        return f"--store {shell_word(str(options.store))} --collection {options.collection}"

    @property
    def exists(self) -> bool:
        """Whether there is an index."""
        with self._connected() as connection:
            return bool(connection.read("has_collection", self._options.collection))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nothing to hold: writers do not harm each other."""
        yield

    def open(self) -> ServerStore:
        """The generation that is searched."""
        from search.store.server.store import ServerStore

        return ServerStore(self._options)

    def begin(self, embedder: Embedder) -> ServerStore:
        """The generation of a model, made or taken up again; the first one is searched at once."""
        from search.store.server.store import ServerStore

        generation = self._generation_of(embedder)
        with ExitStack() as held:
            options = replace(self._options, collection=generation)
            store = held.enter_context(closing(ServerStore(options, embedder)))
            try:
                if not self.exists:
                    with self._connected() as connection:
                        connection.write("create_alias", generation, self._options.collection)
            except StoreError:
                if not self.exists:  # else another machine was quicker
                    raise
            held.pop_all()
        return store

    def publish(self, embedder: Embedder) -> None:
        """Have the generation of a model searched, and delete the one before."""
        complete, alias = self._generation_of(embedder), self._options.collection
        with self._connected() as connection:
            before = connection.read("describe_collection", alias)["collection_name"]
            if before != complete:
                connection.write("alter_alias", complete, alias)
                connection.write("drop_collection", before)

    def texts_folder(self, embedder: Embedder) -> Path:
        """Where the text half of a model lies on this machine, or is to lie."""
        return cache_folder() / "texts" / _digest(embedder)

    def _generation_of(self, embedder: Embedder) -> str:
        return f"{self._options.collection}_{_digest(embedder)}"

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from search.store.server.connection import Connection

        with closing(Connection.open(self._options)) as connection:
            yield connection


def _digest(embedder: Embedder) -> str:
    from hashlib import sha256  # 3 ms, which no query spends

    return sha256(embedder.fingerprint.encode()).hexdigest()[:_DIGITS]


def find_place(options: StoreOptions, roots: tuple[str, ...] = ()) -> Place:
    """The index that a command means; `roots` are as of `find_index`, and so are errors."""
    return find_index(options.index, roots) if options.store is None else ServerPlace(options)


def find_index(named: Path | None, roots: tuple[str, ...] = ()) -> IndexFolder:
    """The index of this machine that is meant.

    Args:
        named: An index's folder, or a folder of photos that was indexed, or lies in one; None takes
            the only one that there is, or that of the current folder.
        roots: Absolute, to be indexed: their index is meant, which need not exist, or the one of
            the nearest folder around one of them.

    Raises:
        StoreError: Which one is meant cannot be told, or there is none.
    """
    if named is not None and (index := IndexFolder(named)).exists:
        return index
    inside = _indexes()
    if meant := roots if named is None else (absolute_path(named),):
        known = [one for root in meant for one, (its, _) in inside.items() if root in its]
        if named is None or index.holds_others:
            known += filter(None, (_around(root, inside) for root in meant))
        found = known[0] if known else default_index(meant[0])
        return found if named is None or found.exists else index
    every = [index for index, (_, is_used) in inside.items() if is_used or len(inside) == 1]
    if len(every) == 1:
        return every[0]
    if around := _around(str(Path.cwd()), inside):
        return around
    if not every:
        raise StoreError("There is no index yet. Make one: footwork search index FOLDER")
    listed = "; ".join(f"{one} of {', '.join(inside[one][0])}" for one in every)
    raise StoreError(f"Which index? Name one with --index: {listed}.")


def index_around(folder: str) -> IndexFolder:
    """The index among user data of a folder, absolute, or of one around it; it need not exist."""
    return _around(folder, _indexes()) or default_index(folder)


def _around(folder: str, inside: _Indexes) -> IndexFolder | None:
    found = [(root, index) for index, (roots, _) in inside.items() for root in roots]
    around = [(len(root), index) for root, index in found if is_at_or_below(folder, root)]
    return max(around, key=itemgetter(0))[1] if around else None


def may_index(place: Place, folder: str) -> bool:
    """Whether an index is new, or of a folder, absolute, or one around it."""
    if not place.exists:
        return True
    with closing(place.open()) as store:
        roots = store.roots()
    return not roots or is_within(folder, roots)


def _indexes() -> _Indexes:
    """The indexes among user data; of each what `_look_into` tells."""
    indexes = data_folder() / "indexes"
    folders = sorted(indexes.iterdir()) if indexes.is_dir() else []
    return {one: _look_into(one) for one in map(IndexFolder, folders) if one.exists}


def default_index(root: str) -> IndexFolder:
    """Where the index of a root, absolute, lies unless another place is named: among user data."""
    name = Path(root).name[:_NAME] or "root"
    digest = f"{crc32(root.encode('utf-8', 'surrogatepass')):08x}"
    return IndexFolder(data_folder() / "indexes" / f"{name}-{digest}")


def _look_into(index: IndexFolder) -> tuple[list[str], bool]:
    """Its roots, and whether it knows of anything: some are begun for a folder without an image."""
    try:
        with closing(index.open()) as store:
            roots = list(store.roots())
            return roots, bool(roots) or next(store.files(), None) is not None
    except FootworkError:
        return [], True
