"""A model hub on a port of this machine, whose answers can fail; copies of its own, and its API."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"
GOOD_TOKEN, OTHER_TOKEN = "hf_good", "hf_other"
"""Of who may see what is gated or private, and of who may not; no other token is known."""


@dataclass
class Fault:
    """What goes wrong with requests whose line, such as `GET /api/models/…`, holds `match`."""

    match: str
    answer: int | None = None
    """A status; None breaks the connection off, after `after` bytes of the content."""
    after: int = 0
    times: int = 1_000_000


@dataclass
class Repository:
    revisions: dict[str, Path]
    gated: bool = False
    private: bool = False

    def commit(self, revision: str) -> str | None:
        found = self.revisions.get(revision)
        if found is None:
            commits = (self.commit(name) for name in self.revisions)
            return revision if revision in commits else None
        total = hashlib.sha1()
        for path in sorted(found.rglob("*")):
            if path.is_file():
                total.update(path.name.encode() + path.read_bytes())
        return total.hexdigest()

    def folder(self, revision: str) -> Path:
        name = next(n for n in self.revisions if revision in (n, self.commit(n)))
        return self.revisions[name]


@dataclass
class Hub:
    """What is served under which id; data sets under `datasets/owner/name`."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """The line of each request so far."""
    endpoint: str = ""

    def add(self, repo_id: str, *folders: Path, gated: bool = False, private: bool = False) -> str:
        """Serve folders as `main`, `v1`, `v2` …, and give the commit of `main`."""
        names = ("main", *(f"v{number}" for number in range(1, len(folders))))
        repository = Repository(dict(zip(names, folders, strict=True)), gated, private)
        self.repositories[repo_id] = repository
        return str(repository.commit("main"))

    def fail(
        self, match: str, answer: int | None = None, *, after: int = 0, times: int = -1
    ) -> None:
        """Have requests go wrong from now on, so many of them."""
        self.faults.append(Fault(match, answer, after, times))

    def environment(self, home: Path) -> dict[str, str]:
        """Variables with which a process asks this hub."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """A hub without repositories, while the block runs."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        fault = self._fault()
        self.after = fault.after if fault else None
        if fault and fault.answer:
            self.after = None
            return self._refuse(fault.answer, None)
        if self.after == 0:
            return self._break_off()
        path = unquote(urlsplit(self.path).path)
        ids = "(?P<id>(?:datasets/)?[^/]+/[^/]+?)"
        if found := re.fullmatch(
            f"/api/(?:models/)?{ids}(?:/(?P<verb>[a-z-]+)(?:/(?P<rest>.*))?)?", path
        ):
            return self._api(**found.groupdict())
        if found := re.fullmatch(f"/{ids}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", path):
            return self._resolve(**found.groupdict())
        return self._refuse(404, None)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _fault(self) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times and fault.match in self.hub.requests[-1]:
                fault.times -= 1
                return fault
        return None

    def _break_off(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: self.after])
        if self.after is not None:
            self.close_connection = True  # the rest does not come

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), Content_Type="application/json")

    def _refuse(self, status: int, code: str | None, message: str = "no") -> None:
        headers = {"X_Error_Message": message} | ({"X_Error_Code": code} if code else {})
        self._send(b"{}", status, **headers)

    def _admitted(self, id: str, *, content: bool) -> Repository | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        repository = self.hub.repositories.get(id)
        if token not in ("", GOOD_TOKEN, OTHER_TOKEN):
            self._refuse(401, None, "Invalid credentials in Authorization header")
        elif repository is None or (repository.private and token != GOOD_TOKEN):
            self._refuse(404 if token else 401, "RepoNotFound")
        elif content and repository.gated and token != GOOD_TOKEN:
            self._refuse(403 if token else 401, "GatedRepo")
        else:
            return repository
        return None

    def _api(self, id: str, verb: str | None, rest: str | None) -> None:
        repository = self._admitted(id, content=False)
        if repository is None:
            return None
        if verb == "refs":
            branches = [
                {"name": n, "ref": n, "targetCommit": "0" * 40} for n in repository.revisions
            ]
            return self._json({"branches": branches, "tags": [], "converts": []})
        revision, _, below = (rest or "main").partition("/")
        commit = repository.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        folder = repository.folder(commit)
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        if verb in ("tree", "paths-info"):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            asked = parse_qs(body).get("paths", []) or json.loads(body or '{"paths": []}')["paths"]
            wanted = asked if verb == "paths-info" else [n for n in names if n.startswith(below)]
            return self._json(
                [
                    {
                        "type": "file",
                        "oid": "0" * 40,
                        "size": (folder / n).stat().st_size,
                        "path": n,
                    }
                    for n in wanted
                    if n in names
                ]
            )
        files = [{"rfilename": name} for name in names]
        gated = "auto" if repository.gated else False
        return self._json({"id": id, "sha": commit, "siblings": files, "gated": gated, "tags": []})

    def _resolve(self, id: str, revision: str, name: str) -> None:
        repository = self._admitted(id, content=True)
        if repository is None:
            return None
        commit = repository.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        path = repository.folder(commit) / name
        if not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        start = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", ""))
        status = 206 if start else 200
        content = content[int(start[1]) :] if start else content
        return self._send(content, status, ETag=etag, X_Repo_Commit=commit)


def kept_repository(repository: str) -> Path:
    """Where downloads of `repository` are kept."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def keep_repository(folder: Path, repository: str, *, anew: bool = True) -> None:
    """Put a copy of `folder` there as its `main`; unless `anew`, over what it held."""
    kept = kept_repository(repository)
    if anew:
        shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept / "snapshots" / COMMIT, dirs_exist_ok=True)
    (kept / "refs").mkdir(exist_ok=True)
    (kept / "refs" / "main").write_text(COMMIT)


class StandInApi:
    """`huggingface_hub.HfApi` of a Hub that keeps what is pushed; its answers may be changed."""

    who: ClassVar[Any] = {"name": "owner", "orgs": [{"name": "firm"}]}
    """What `whoami` gives, or an error that it raises."""
    refusal: ClassVar[Exception | None] = None
    """What making a repository raises."""

    def whoami(self) -> Any:
        if isinstance(self.who, Exception):
            raise self.who
        return self.who

    def auth_check(self, repository: str, *, write: bool) -> None:
        assert write
        if repository.split("/")[0] not in ("owner", "firm"):
            raise refused(403)

    def create_repo(self, repository: str, *, exist_ok: bool) -> str:
        assert exist_ok
        if self.refusal is not None:
            raise self.refusal
        return f"https://hub.example/{repository}"

    def upload_folder(self, *, repo_id: str, folder_path: str, delete_patterns: list[str]) -> None:
        for name in delete_patterns:
            (kept_repository(repo_id) / "snapshots" / COMMIT / name).unlink(missing_ok=True)
        keep_repository(Path(folder_path), repo_id, anew=False)


def refused(status: int, said: str = "no", **headers: str) -> Exception:
    """What `huggingface_hub` raises of an answer with this status."""
    from huggingface_hub.errors import HfHubHTTPError

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response: Any = SimpleNamespace(
        status_code=status, headers=named, request=None, reason_phrase=said
    )
    return HfHubHTTPError(f"Client error {status}", response=response, server_message=said)
