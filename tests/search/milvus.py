"""A real Milvus server on this machine, for as long as the tests run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket

import milvus

TOKEN = "root:Milvus"  # of every new server
_ATTEMPTS = 3
"""At free ports, one of which somebody else may take before Milvus does."""
_STARTING, _ENDING = 60.0, 2.0  # seconds

# The process becomes the server, and ends with its parent, however that ends.
_START = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("The parent is gone.")
os.execv(sys.argv[2], sys.argv[2:])
"""

# What a server for many users waits for, a test need not wait for.
_IMPATIENCE = {
    "proxy.timeTickInterval": 50,
    "queryCoord.checkInterval": 50,
    "queryCoord.distPullInterval": 50,
    "log.level": "error",
}
# The same of what the package's own settings do not know: making a collection ends a second sooner.
_MORE_IMPATIENCE = {
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
    "QUERYCOORD_CHECKINDEXINTERVAL": "50",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
}


def unpack(folder: Path) -> None:
    """Unpack the server's programs, unless they are: 250 MB, which takes 6 seconds."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as part:
        milvus._initialize_data_files(part)
        try:
            Path(part, "bin").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another session was quicker
                raise


@contextmanager
def running_milvus(programs: Path, data: Path) -> Iterator[str]:
    """Run a server, and yield its address; everybody is let in who has `TOKEN`.

    Args:
        programs: Of `unpack`.
        data: An empty folder.
    """
    for attempt in range(_ATTEMPTS):
        run = data / str(attempt)
        ports = _free_ports(14)
        config = _configure(run, ports)
        process = _start(programs, run, ports)
        try:
            if _is_up(process, ports[2]):
                yield f"http://127.0.0.1:{config.get('proxy_port')}"
                return
        finally:
            _end(process)
    log = (run / "log").read_text("utf-8", errors="replace")
    raise RuntimeError(f"Milvus does not start:\n{log[-4000:]}")


def _configure(run: Path, ports: list[int]) -> milvus.MilvusServerConfig:
    run.mkdir(parents=True)
    config = milvus.MilvusServerConfig(data_dir=str(run))
    names = [name for name in config.configurable_items if name.endswith("_port")]
    config.update(**dict(zip(names, ports[3:], strict=False)))
    config.set("authorization_enabled", True)
    for name, value in _IMPATIENCE.items():
        config.set(name, value)
    config.resolve()
    client, peer = (f"http://127.0.0.1:{port}" for port in ports[:2])
    (run / "etcd.yaml").write_text(
        f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
        f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\n"
        f"initial-cluster: default={peer}\n",
        encoding="utf-8",
    )
    return config


def _start(programs: Path, run: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    program = [str(programs / "milvus"), "run", "standalone"]
    settings = {
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(ports[2]),
        "ETCD_CONFIG_PATH": str(run / "etcd.yaml"),
        "MILVUS_RUN_DIR": str(run / "run"),
        "LD_LIBRARY_PATH": str(programs),
    }
    with (run / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _START, str(os.getpid()), *program],
            cwd=run,
            env=os.environ | _MORE_IMPATIENCE | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    ends = time.monotonic() + _STARTING
    while process.poll() is None and time.monotonic() < ends:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                if b"OK" in answer.read():
                    return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.1)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """By its own number, and at last by force: it may take minutes to say goodbye."""
    process.terminate()
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
