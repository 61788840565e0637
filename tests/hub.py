"""A stand-in for the Hub on a port of this machine: one model under any id, at one commit."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "beef"


@contextmanager
def serve_hub(folder: Path) -> Iterator[int]:
    """Serve the files of `folder` as `main`, and yield the port."""

    class Files(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            revision, _, name = self.path.partition("/resolve/")[2].partition("/")
            path = folder / name
            found = revision in ("main", COMMIT) and bool(name) and path.is_file()
            content = path.read_bytes() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            if found:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            else:
                known = revision in ("", "main", COMMIT)
                self.send_header("X-Error-Code", "EntryNotFound" if known else "RevisionNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
