"""Every test runs offline, seeded, on one thread, and leaves no state to the next."""

from __future__ import annotations

import gc
import os
import random
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

if TYPE_CHECKING:
    from tests.hub import Hub
    from tests.towers import Exports

# Set before torch, transformers or datasets can read them; subprocesses inherit them.
_HOME = tempfile.TemporaryDirectory(prefix="footwork-tests-")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=os.path.join(_HOME.name, "huggingface"),  # noqa: PTH118 - a plain string is wanted
    FOOTWORK_HOME=os.path.join(_HOME.name, "footwork"),  # noqa: PTH118
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)

SEED = 0


class _ToldConnection(sqlite3.Connection):
    """Warns where nobody closed it, as every connection does from Python 3.13 on."""

    is_open = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        super().close()

    def __del__(self) -> None:
        if self.is_open:
            warnings.warn(f"unclosed database in {self!r}", ResourceWarning, 2, self)


if sys.version_info < (3, 13):
    sqlite3.connect = partial(sqlite3.connect, factory=_ToldConnection)  # type: ignore[assignment]


def pytest_collection_finish() -> None:
    """What is imported stays: a training collects garbage twice, and need not look at all that."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Nothing waits until it is on the disk: no test cuts the power."""
    with patch("os.fsync", lambda _: None):
        yield


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed every generator that the test's imports have brought in."""
    random.seed(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)  # libraries draw from the global one
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)


@pytest.fixture(autouse=True)
def fresh_accelerator_state() -> Iterator[None]:
    """Forget the process-wide state of accelerate, which refuses a second precision."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub of the test's own, which is asked in place of the real one, without pauses."""
    from huggingface_hub import close_session, constants

    import footwork.models.downloads
    import footwork.models.hub
    from tests.hub import serve_hub

    with serve_hub() as served:
        template = f"{served.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(footwork.models.downloads, "_PAUSES", (0, 0, 0, 0))
        monkeypatch.setattr(footwork.models.hub, "_COMMITS", {})
        yield served
    close_session()


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    from tests.towers import Exports

    return Exports(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def exported_once(exports: Exports) -> Iterator[None]:
    """No text half is exported that was exported before; test_onnx.py tests exporting."""
    with exports.once():
        yield
