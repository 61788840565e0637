"""Files of the Hub into its cache: told while they come, and gone on with where they broke."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from filelock import Timeout
from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.file_download import HfFileMetadata, repo_folder_name
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    WeakFileLock,
    build_hf_headers,
    hf_raise_for_status,
)

from footwork.console import Progress, note
from footwork.errors import HubUnreachable, ModelError
from footwork.files.folders import published_file
from footwork.files.paths import size_text
from footwork.files.plain_files import content_hash

Answer = TypeVar("Answer")
_PAUSES = (1, 2, 4, 8)  # seconds before another attempt, after so many failures in a row
_LONGEST_PAUSE = 60
REFUSALS = (401, 403, 404)
"""What the Hub answers where it does not give something; all else is no answer."""
_WORTH_TELLING = 1_000_000  # bytes
_PATIENT = 2.0  # seconds of waiting for another process until it is told


class Patience:
    """How often a Hub that fails is asked again: until five failures in a row."""

    def __init__(self, what: str) -> None:
        self._what, self._failures = what, 0

    def progressed(self) -> None:
        """Something came: the next failure is the first again."""
        self._failures = 0

    def wait(self, error: HTTPError) -> None:
        """Say what failed and pause, or raise it: where it will not pass, or has not."""
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        passes = status is None or status in (408, 429) or status >= 500
        if not passes or self._failures == len(_PAUSES):
            raise error
        pause = _PAUSES[self._failures]
        if isinstance(error, HfHubHTTPError):
            asked = error.response.headers.get("Retry-After", "")
            pause = max(pause, min(int(asked), _LONGEST_PAUSE) if asked.isdecimal() else 0)
        self._failures += 1
        note(f"{self._what}: {failure_text(error)}; trying again in {pause} s")
        time.sleep(pause)


def ask_hub(what: str, ask: Callable[[], Answer], *, patient: bool = True) -> Answer:
    """What the Hub answers to a request for `what`, sent again where it fails, if `patient`."""
    patience = Patience(what)
    while True:
        try:
            return ask()
        except HTTPError as error:
            if not patient or isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
                raise
            patience.wait(error)


def failure_text(error: HTTPError) -> str:
    """Of a request that failed: which answer came, or why none did; a clause."""
    if isinstance(error, HfHubHTTPError):
        response = error.response
        return f"{constants.ENDPOINT} answers {response.status_code} {response.reason_phrase}"
    if isinstance(error, httpx2.TimeoutException):
        return f"{constants.ENDPOINT} does not answer ({error or 'timed out'})"
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
        return f"{constants.ENDPOINT} cannot be reached ({error})"
    return f"the connection broke ({error or type(error).__name__})"


def repository_folder(repo_id: str) -> Path:
    """Where the Hub's cache keeps a model: `blobs`, `refs` and `snapshots`, one a commit."""
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")


def damaged_file(snapshot: Path) -> str | None:
    """The first file of a snapshot that is not what the Hub announced; None where all are.

    The Hub names content by its SHA-256, or, what is small, by its Git object.
    """
    for path in sorted(snapshot.iterdir()):
        blob = path.resolve()
        if path.is_file() and not content_hash(path).startswith(blob.name):
            head = f"blob {_size_of(blob)}\0".encode()
            if hashlib.sha1(head + blob.read_bytes()).hexdigest() != blob.name:
                return path.name
    return None


def download_files(repo_id: str, commit: str, names: Iterable[str]) -> None:
    """Put files of a model, named within its repository, where its snapshot lacks them.

    Where the Hub breaks off again and again it is `HubUnreachable`, and what came is kept; no room
    for them is a `ModelError`; what the Hub refuses is an HTTPError, what the disk does an OSError.
    """
    snapshot = repository_folder(repo_id) / "snapshots" / commit
    missing = [name for name in names if not (snapshot / name).is_file()]
    facts = [_facts(repo_id, commit, name) for name in missing]
    blobs = [snapshot.parents[1] / "blobs" / str(fact.etag) for fact in facts]
    wanted = {blob: fact.size or 0 for blob, fact in zip(blobs, facts, strict=True)}
    total = sum(size for blob, size in wanted.items() if not blob.exists())
    kept = sum(min(_size_of(_part(blob)), size) for blob, size in wanted.items())
    locks = Path(constants.HF_HUB_CACHE) / ".locks" / snapshot.parents[1].name
    with _Download(repo_id, total, total - kept) as progress:
        for name, fact, blob in zip(missing, facts, blobs, strict=True):
            for folder in (locks, blob.parent, (snapshot / name).parent):
                folder.mkdir(parents=True, exist_ok=True)
            with _turn(locks / f"{blob.name}.lock", repo_id):
                if not blob.exists():
                    _download(hf_hub_url(repo_id, name, revision=commit), blob, fact.size, progress)
                if not (snapshot / name).is_file():
                    _link(snapshot / name, blob)
        progress.close()


@contextmanager
def _turn(lock: Path, repo_id: str) -> Iterator[None]:
    """Within the block of the Hub's own lock: of two processes one downloads, the other waits."""
    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(lock, timeout=_PATIENT))
        except Timeout:
            note(f"another process downloads {repo_id}; waiting for it")
            stack.enter_context(WeakFileLock(lock))
        yield


def _facts(repo_id: str, commit: str, name: str) -> HfFileMetadata:
    """What the Hub announces of a file: its size in bytes, and a name of its content."""
    url = hf_hub_url(repo_id, name, revision=commit)
    limit = constants.HF_HUB_ETAG_TIMEOUT
    fact = ask_hub(f"{repo_id}, {name}", lambda: get_hf_file_metadata(url, timeout=limit))
    if not re.fullmatch(r"[\w-]+", fact.etag or ""):
        raise HubUnreachable(
            f"{constants.ENDPOINT} does not name the content of {repo_id} as a model hub does. "
            "Check HF_ENDPOINT and the proxy."
        )
    return fact


def _link(path: Path, blob: Path) -> None:
    path.unlink(missing_ok=True)  # a link whose blob was deleted
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:  # a file system without links
        with published_file(path) as sibling:
            shutil.copyfile(blob, sibling)


def _download(url: str, blob: Path, size: int | None, progress: _Download) -> None:
    """One file, from where its last download broke."""
    part = _part(blob)
    start = _size_of(part)
    if size is None or start > size:
        part.unlink(missing_ok=True)
        start = 0
    room = shutil.disk_usage(part.parent).free
    if size and room < size - start:
        raise ModelError(
            f"{progress.name} takes {size_text(size - start)} more, but only {size_text(room)} "
            f"are free at {constants.HF_HUB_CACHE}. Free some, or set HF_HOME to a folder with "
            "more room."
        )
    progress.find(start)
    _fill(url, part, size, progress)
    if start and len(blob.name) == 64 and content_hash(part) != blob.name:
        part.unlink()  # what was found there was something else
        progress.find(-(size or 0))
        _fill(url, part, size, progress)
    part.replace(blob)


def _fill(url: str, part: Path, size: int | None, progress: _Download) -> None:
    patience, most = Patience(progress.name), 0
    while True:
        try:
            return _append(url, part, size, progress)
        except HTTPError as error:
            if (reached := _size_of(part)) > most:
                patience.progressed()
                most = reached
            try:
                patience.wait(error)
            except HTTPError:
                if isinstance(error, HfHubHTTPError) and error.response.status_code in REFUSALS:
                    raise
                raise HubUnreachable(
                    f"The download of {progress.name} broke off at {progress.amount()}: "
                    f"{failure_text(error)}. What came is kept; run the command again, and it "
                    "goes on from there."
                ) from error


def _append(url: str, part: Path, size: int | None, progress: _Download) -> None:
    start = _size_of(part)
    if size and start == size:
        return
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        with part.open("ab" if response.status_code == 206 else "wb") as file:
            progress.find(file.tell() - start)  # the range may not be honoured: back to the start
            for chunk in response.iter_bytes():
                file.write(chunk)
                progress.add(len(chunk))
    reached = _size_of(part)
    if size is not None and reached != size:
        if reached > size:
            part.unlink()
            progress.find(-reached)
        raise httpx2.RemoteProtocolError(f"{reached} bytes came, where {size} were announced")


def _part(blob: Path) -> Path:
    """What came of a file so far."""
    return blob.with_name(f"{blob.name}.incomplete")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _Download(Progress):
    """How far a download is, shown if it is worth it."""

    def __init__(self, name: str, total: int, left: int) -> None:
        super().__init__(name, "B")
        self.name, self._total, self._done, self._found = name, total, 0, 0
        if not self.watched:
            rest = f", {size_text(left)} of it left" if left < total else ""
            self._note(f"downloading {name}: {size_text(total)}{rest}")

    def find(self, count: int) -> None:
        """So many bytes are there from an earlier run; if fewer than none, they are lost again."""
        self._done += count
        self._found += count

    def add(self, count: int) -> None:
        """So many bytes more have come."""
        self._done += count
        if self._total >= _WORTH_TELLING:
            self.show(self._done, self._total, found=self._found)

    def amount(self) -> str:
        """How much of it is there."""
        return f"{size_text(self._done)} of {size_text(self._total)}"

    def close(self) -> None:
        """All is there."""
        self.end()
        self._note(f"downloaded {self.name}: {size_text(self._total)}")

    def _note(self, text: str) -> None:
        if self._total >= _WORTH_TELLING:
            note(text)
