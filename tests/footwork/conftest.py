"""Texts and images as cases; an application called `boxing`, in a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from footwork import cli

if TYPE_CHECKING:
    from tests.tasks import Case

# An application of our own, so that these tests need no other and fail with no other.
BOXING = '''
"""Hit and do not be hit."""
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from footwork.errors import ConfigError, DataError, Interrupted
from footwork.help_page import SPEED

app = App(name="boxing", help="Hit and do not be hit.")

FAULTS = {
    "data": DataError("row 3 has no label"),
    "config": ConfigError("`rounds` must be at least 1, got 0."),
    "signal": Interrupted("saved at step 7", 15),
    "bug": KeyError("stance"),
    "disk": OSError(errno.ENOSPC, "No space left on device", "out/model.safetensors"),
    "wrapped disk": RuntimeError("safetensors: No space left on device (os error 28)"),
    "locked": PermissionError(errno.EACCES, "Permission denied", "out"),
    "memory": MemoryError(),
    "keyboard": KeyboardInterrupt(),
    "peer": RuntimeError("[gloo/transport/tcp/pair.cc:5] Connection closed by peer [::1]:5"),
}


@app.command
def fail(fault: str, *, out: str = "", resume: bool = False, overwrite: bool = False) -> int:
    """Fail in one of the known ways."""
    raise FAULTS[fault]


@app.command
def skip() -> int:
    """Leave something out."""
    return 3


@app.command
def count(limit: int) -> int:
    """Print numbers."""
    for number in range(limit):
        print(number)
    return 0


@dataclass(frozen=True, kw_only=True)
class Bout:
    """One bout."""

    num_rounds: int = 3
    """Rounds of three minutes."""
    stance: Literal["orthodox", "southpaw"] = "orthodox"
    corners: tuple[str, ...] = ()
    rest: Annotated[int | None, SPEED] = None
    gloves: bool = True


@app.command
def box(bout: Annotated[Bout, Parameter(name="*")] = Bout(), *, config: Path | None = None) -> int:
    """Box.

    Args:
        bout: How.
        config: TOML file with any of these settings.
    """
    print(bout.num_rounds, bout.stance, *bout.corners, *filter(None, [bout.rest]))
    return 0
'''


@pytest.fixture(params=("texts", "images"), scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    from tests.tasks import CASES  # torch, for those tests that train

    return CASES[request.param]


@pytest.fixture(scope="module")
def base(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.build(tmp_path_factory.mktemp("base"), case.family)


@pytest.fixture(scope="module")
def data(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def boxing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "applications" / "boxing"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Hit and do not be hit.\n\nMore follows."""\n')
    (folder / "cli.py").write_text(BOXING)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(cli, "APPLICATIONS", ("boxing", "not_installed"))
    monkeypatch.chdir(tmp_path)
    yield folder
    for module in ("boxing.cli", "boxing"):
        sys.modules.pop(module, None)
