"""Folders and files that are complete or absent: written beside, flushed, then renamed."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError, ModelError
from footwork.files.paths import shell_word, user_path
from footwork.files.plain_files import LONGEST, content_of, read_document

MANIFEST = "footwork.json"
_USUAL_FILES = (
    *("*.safetensors", "*.json", "*.jinja", "vocab.txt", "merges.txt", "*.model"),
    *("README.md", "report/*"),
)
"""Of a folder whose manifest lists none, as those of an earlier version."""
_SEAL = "sha256"
_one_at_a_time = threading.Lock()
_DESKTOP_FILES = (".DS_Store", ".directory", "Thumbs.db", "desktop.ini")


def is_of_a_desktop(name: str) -> bool:
    """Whether a folder gets a file of this name by being looked at."""
    return name in _DESKTOP_FILES or name.startswith("._")


@contextmanager
def published_folder(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling to write into; it becomes `target` if the block succeeds.

    A manifest in it is told the hashes of all files: `read_manifest` compares them. What stands at
    `target`, before the block or after it, and may not be replaced is a `ConfigError`.
    """
    require_free(target, overwrite)
    with renewed_folder(target) as staging:
        yield staging
        if (staging / MANIFEST).is_file():
            names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*"))
            hashes = {name: content_of(staging / name) for name in names if name != MANIFEST}
            files = {name: content for name, content in hashes.items() if content is not None}
            write_json(staging / MANIFEST, sealed(read_json(staging / MANIFEST) | {"files": files}))
        require_free(target, overwrite)  # hours may have passed


@contextmanager
def renewed_folder(target: Path) -> Iterator[Path]:
    """As `published_folder`, of a folder within Footwork's own: what stood there is replaced."""
    target = followed(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(target), dir=target.parent))
    except OSError as error:  # of which the user knows the target's name only
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        yield staging
        allowed = ~_umask()
        for path in (*staging.rglob("*"), staging):
            if not path.is_symlink():  # the folder and safetensors' files are their writer's alone
                path.chmod((0o777 if path.is_dir() else 0o666) & allowed)
            flush(path)
        _replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_staging(target: Path) -> None:
    """Delete what a killed process left half-written beside `target`."""
    for path in target.parent.glob(f"{glob.escape(_staging_prefix(target))}*"):
        shutil.rmtree(path, ignore_errors=True)


def discard_folder(folder: Path, target: Path) -> None:
    """Delete `folder`, beside `target`: renamed first, so that no one meets half of it."""
    with suppress(OSError):
        folder = folder.rename(target.with_name(f"{_staging_prefix(target)}done"))
    shutil.rmtree(folder, ignore_errors=True)


def _staging_prefix(target: Path) -> str:
    return f".{_short(target.name)}.footwork-"


def followed(target: Path) -> Path:
    """Where a folder leads, `~` among them: it cannot be renamed to a link, which would be lost."""
    return Path(os.path.realpath(user_path(target)))


def require_free(
    target: Path,
    overwrite: bool = False,
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """Refuse, by a `ConfigError`, a target that a command may not write, or may not replace.

    An empty folder is free. Any other is replaced only where that is asked for (`overwrite`), if
    its manifest says that Footwork made it, and if nothing else lies in it. Of `inputs`, which are
    read meanwhile, those that are no paths of this machine are passed over.
    """
    require_no_former(target)
    real = followed(target)
    for read in (Path(one) for one in inputs if one is not None):
        source = followed(read)
        if source.exists() and (real in (source, *source.parents) or source in real.parents):
            how = "is" if real == source else "lies in" if source in real.parents else "holds"
            raise ConfigError(f"{target} {how} what is read, {read}. Name a folder apart from it.")
    if os.path.ismount(real):
        raise ConfigError(
            f"{target} is where a disk or volume is mounted, and cannot be replaced as a whole. "
            f"Name a folder in it, such as {target / 'new'}."
        )
    if not real.exists() or (real.is_dir() and not any(real.iterdir())):
        return
    if (stranger := _stranger(real)) is not None:
        raise ConfigError(f"{target} exists and is not replaced: {stranger}. Name another folder.")
    if not overwrite:
        raise ConfigError(
            f"{target} exists. Name another folder, or add --overwrite to replace it."
        )


def require_no_former(target: Path) -> None:
    """Refuse, by a `ConfigError`, what is missing because a kill came while it was replaced."""
    if "\0" in str(target) or (real := followed(target)).exists():
        return
    for old in real.parent.glob(f"{glob.escape(_former_prefix(real))}*"):
        if (old / MANIFEST).is_file():
            raise ConfigError(
                f"{target} is missing: a command that replaced it was killed. What stood there is "
                f"in {old}. Take it back (mv {shell_word(old)} {shell_word(real)}), or delete it."
            )


def _former_prefix(target: Path) -> str:
    return f".{_short(target.name)}.old."


def _stranger(folder: Path) -> str | None:
    """What keeps a folder from being replaced, as a clause; None if Footwork made all of it."""
    if not folder.is_dir():
        return "it is a file"
    try:
        manifest = read_json(folder / MANIFEST)
    except ModelError:
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("application"), str):
        return "no manifest says that Footwork trained, taught or merged it"
    files = manifest.get("files")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if isinstance(files, dict):
            known = name == MANIFEST or name in files
        else:
            known = any(fnmatchcase(name, usual) for usual in _USUAL_FILES)
        is_folder = path.is_dir() and not path.is_symlink()
        if not (known or is_of_a_desktop(path.name) or is_folder):
            return f"it holds {name!r}, which Footwork did not put there"
    return None


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the SHA-256 of all else in it."""
    import hashlib

    rest = {name: value for name, value in manifest.items() if name != _SEAL}
    text = json.dumps(rest, sort_keys=True)
    return rest | {_SEAL: hashlib.sha256(text.encode()).hexdigest()}


def _require_undamaged(folder: Path, manifest: dict[str, Any]) -> None:
    """Compare a published folder with its hashes, but for what no answer comes from."""
    files = manifest.get("files", {})
    changed = {MANIFEST: _SEAL in manifest and manifest != sealed(manifest)}
    for name, standing in files.items() if isinstance(files, dict) else ():
        for part in name.split("/"):
            plain_name(part, folder / MANIFEST)
        if name != "README.md" and not name.startswith("report/"):
            changed[name] = standing != content_of(folder / name)
    if damaged := [name for name in changed if changed[name]]:
        raise ModelError(
            f"{folder / damaged[0]} is not as it was published: it is damaged, missing or was "
            "changed. Copy or make the folder again; if the change is yours, remove "
            f"`files` and `{_SEAL}` from {folder / MANIFEST}."
        )


def plain_name(name: Any, where: Path) -> str:
    """A name that the file `where` gives of a file in its own folder, or a `ModelError`."""
    if isinstance(name, str) and name not in ("", ".", "..") and not set("/\\\0") & set(name):
        return name
    raise ModelError(
        f"{where} names {name!r}, where only a file beside it may be named. Do not use it unless "
        "you know who made it."
    )


def _replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; what stood there is gone only once the new folder stands."""
    if target.is_dir() and any(target.iterdir()):
        old = Path(tempfile.mkdtemp(prefix=_former_prefix(target), dir=target.parent))
        try:
            target.rename(old)
            source.rename(target)
        except BaseException:  # Ctrl-C among them, in between
            if not target.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        source.rename(target)
    flush(target.parent)


@contextmanager
def published_file(target: Path) -> Iterator[Path]:
    """Give a temporary sibling to write; flushed, it becomes `target` if the block succeeds.

    Its name is drawn at random and nothing stands there, nor a link. Permissions of a file that is
    replaced stay. An `OSError` leaves what stood at `target`.
    """
    target = Path(os.path.realpath(target))
    handle, name = tempfile.mkstemp(prefix=f".{_short(target.name)}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        mode = 0o666 & ~_umask()
        with suppress(OSError):  # nothing stands there, or not any more
            mode = target.stat().st_mode
        temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, complete or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with published_file(path) as sibling:  # in a path, bytes that are no UTF-8 are escaped
        sibling.write_text(f"{text}\n", "utf-8", "backslashreplace")


def read_json(path: Path, longest: int | None = LONGEST) -> Any:
    """The JSON of a file of at most `longest` bytes (None for our own), or a `ModelError`."""
    try:
        return read_document(path, longest)
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read {path}: {error}. Train or copy the folder again.") from error


def read_manifest(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The `footwork.json` of a folder that Footwork made; empty for a folder it did not make.

    Where `verify`, before it answers, its files are compared with their hashes: damage is a
    `ModelError`.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise ModelError(f"{path} must hold a JSON object. Train or copy the folder again.")
    if verify:
        _require_undamaged(folder, manifest)
    return manifest


def seal_of(folder: Path) -> str | None:
    """The hash of what a folder that Footwork made was published as; None of any other, or none."""
    return read_manifest(folder, verify=False).get(_SEAL)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network storages cannot flush names
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _short(name: str) -> str:
    """A name to which some bytes may be added: 255 are the most."""
    return os.fsdecode(os.fsencode(name)[:200])


def _umask() -> int:
    # It can only be read by setting it: what another thread makes meanwhile is rather too private.
    with _one_at_a_time:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
