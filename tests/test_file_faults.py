"""What is wrong with one file is that file's fault alone, whatever is raised, at every step."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from footwork.cli import main
from tests.towers import Exports
from tests.zeroshot.test_cli import draw_folder

VICTIM = "victim.png"
ROOT = Path(__file__).parents[1]
ROOMS = tuple(f"{ROOT / name}/" for name in ("footwork", "search", "zeroshot"))
OF_NAMES = (
    *("footwork/files/paths.py", "search/paths.py", "search/exclusions.py"),
    *("footwork/tables/", "footwork/files/faults.py", "footwork/errors.py", "search/store/"),
    *("search/duplicates/rows.py", "zeroshot/rows.py"),
    *(f"search/answers/{name}.py" for name in ("answer", "contact_sheet", "page_images")),
    *("footwork/pages/", "search/query/asking.py"),
    *("search/records.py", "footwork/console.py", "footwork/streams.py"),
)
"""Rooms that make text or rows of what is known of a file, and touch none."""
GUARDS = frozenset(
    {
        *("attempt", "prepare_picture", "_as_found", "_Planner.add", "state_of", "content_of"),
        *("write_sidecar", "distinct_files", "_Execution._place"),
        *("is_folder", "why_missing", "natural_key", "has_image_ending", "is_visible", "name_key"),
        *("FolderReader._entries.<locals>.<lambda>", "<lambda>"),
        *("_Finder._add_file", "_Finder._add_entry", "_Finder._is_new"),
        *("_compare", "_move", "_renewed", "_worth", "_pixels", "fspath", "_path_normpath"),
        "_path_splitroot_ex",  # of Python 3.13
        *("_state_of", "_digest"),
    }
)
"""Where whatever is raised within is caught; and what asks for a name, or what is known, alone."""
_proven: set[str] = set()
"""Steps of `runtime`, which all commands take behind the same guards: one of them tries each."""


class ThrownError(Exception):
    """Nobody expects it."""


class Steps:
    """Watches what is done with the victim, and may throw once: where the project's functions are
    given it, and where they ask the system about it.

    Args:
        at: Which step throws; None to see all.
    """

    def __init__(self, at: str | None = None) -> None:
        self.at = at
        self.seen: dict[str, None] = {}

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOMS):
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            is_step = not room_of(frame).startswith(OF_NAMES) and code.co_qualname not in GUARDS
            is_step = is_step and not code.co_name.startswith("__")
        elif event == "c_call" and getattr(called, "__module__", "") in ("posix", "io", "_io"):
            names = frame.f_code.co_varnames
            # `os.path` takes whatever the system says for an answer.
            answered = ("exists", "isdir", "isfile", "islink", "lexists")
            is_step = called.__name__ not in GUARDS and frame.f_code.co_name not in answered
        else:
            return
        if not (is_step and any(is_victim(frame.f_locals.get(name)) for name in names)):
            return
        within = frame
        while within.f_back and not within.f_code.co_filename.startswith(ROOMS):
            within = within.f_back
        step = (
            f"{getattr(called, '__name__', 'call')} {room_of(within)}:{within.f_code.co_qualname}"
        )
        self.seen[step] = None
        if step == self.at:
            raise ThrownError("thrown")

    @contextmanager
    def watching(self) -> Iterator[None]:
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def room_of(frame: FrameType) -> str:
    return frame.f_code.co_filename.removeprefix(f"{ROOT}/")


def is_victim(value: object) -> bool:
    """Whether it is the victim's path, or something that has that."""
    value = getattr(value, "record", value)
    value = getattr(value, "path", getattr(value, "source", value))
    return isinstance(value, str | Path) and str(value).endswith(VICTIM)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, exports: Exports) -> Path:
    """Pictures, some more of which one is there twice, and an index of these."""
    folder = tmp_path_factory.mktemp("drawn")
    for name in ("photos", "known"):
        draw_folder(folder / name, ("star", "circle"), 3)
        (folder / name / "star" / "1.png").rename(folder / name / "star" / VICTIM)
    shutil.copy2(folder / "known" / "star" / VICTIM, folder / "known" / "star" / "copy.png")
    command = ["search", "index", f"{folder}/known", "--index", f"{folder}/index"]
    with exports.once():
        assert main([*command, "--model", "tiny"]) == 0
    return folder


LABEL = "zeroshot label AT/photos --labels star,circle --model tiny"
COMMANDS = {
    "index": "search index AT/photos --index AT/index",
    "index again": "search index --index AT/index --recheck",
    "label": f"{LABEL} --xmp --copy-to AT/sorted --yes",
    "label and move": f"{LABEL} --move-to AT/sorted --yes",
    "label an index": "zeroshot label KNOWN --labels star,circle --index AT/index "
    "--copy-to AT/sorted --yes",
    "query": "search query star --all --index AT/index --copy-to AT/found --html AT/found.html",
    "duplicates": "search duplicates --index AT/index --html AT/found.html",
    "evaluate": "zeroshot evaluate AT/photos --model tiny",
    "teach": "zeroshot teach AT/photos AT/taught --model tiny",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file left open
@pytest.mark.parametrize("name", COMMANDS)
def test_an_exception_at_any_step_is_the_fault_of_its_file(
    name: str, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(steps: Steps, number: int) -> tuple[int, str]:
        at = tmp_path / str(number)
        for part in ("photos", "index"):
            shutil.copytree(drawn / part, at / part)
        words = COMMANDS[name].replace("AT", str(at)).replace("KNOWN", str(drawn / "known"))
        with steps.watching():
            code = main(words.split())
        return code, "".join(capfd.readouterr())

    found = Steps()
    code, said = run(found, 0)
    assert code == 0, said
    assert found.seen
    failures = []
    for number, step in enumerate((one for one in found.seen if one not in _proven), 1):
        code, said = run(Steps(step), number)
        # A duplicate may be either of the two; those that cannot be compared are counted.
        is_told = "victim" in said or "copy.png" in said or "Left out" in said
        if code not in (0, 3) or (code == 3 and not is_told):
            failures.append(f"{step}: {code} {said[-300:]}")
    _proven.update(step for step in found.seen if step.partition(" ")[2].startswith("footwork/"))
    assert not failures, "\n".join(failures)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_at_any_step_of_finetuning_is_the_fault_of_its_file(
    drawn: Path, tmp_path: Path
) -> None:
    from footwork.models.image_classifiers import load_image_processor
    from zeroshot.options import FinetuneConfig
    from zeroshot.pixels import decode_once, readable
    from zeroshot.task import read_images

    processor = load_image_processor("tiny")
    paths = sorted((drawn / "photos").rglob("*.png"))

    def run(steps: Steps) -> set[str]:
        with steps.watching():
            images = read_images(drawn / "photos", FinetuneConfig(validation_share=0.4))
            pixels, faults = decode_once(paths, processor, tmp_path / "pixels")
        assert len(pixels) + len(faults) == len(paths)
        assert len(readable(images, faults).splits["train"]) > 0
        return {path.name for path in faults}

    found = Steps()
    assert not run(found)
    faulty = [run(Steps(step)) for step in found.seen]
    assert {*map(frozenset, faulty)} == {frozenset(), frozenset({VICTIM})}
