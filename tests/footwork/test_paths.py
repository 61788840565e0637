"""Paths are shown whatever their bytes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from footwork.files.paths import file_address, path_line, path_text, shell_word

ODD = os.fsdecode(b"/caf\xe9\n\x1b 50%#?.jpg")


@pytest.mark.parametrize("kind", [str, Path])
def test_bytes_that_are_no_utf8_stand_as_escapes(kind: type) -> None:
    assert path_text(kind(ODD)) == "/caf\\xe9\n\x1b 50%#?.jpg"
    assert path_text(kind("/café/鳥")) == "/café/鳥"


def test_a_line_holds_nothing_that_a_terminal_obeys() -> None:
    assert path_line(ODD) == "/caf\\xe9\\n\\x1b 50%#?.jpg"
    assert path_line("/a\u202egpj.exe") == "/a\\u202egpj.exe"
    assert path_line("/café/鳥 b.jpg") == "/café/鳥 b.jpg"


def test_an_address_leads_to_the_very_bytes() -> None:
    assert file_address(ODD) == "file:///caf%E9%0A%1B%2050%25%23%3F.jpg"
    assert file_address(Path("/é")) == "file:///%C3%A9"
    with pytest.raises(ValueError, match="relative"):
        file_address("a.jpg")


@pytest.mark.parametrize(
    "name",
    [
        *("model", "my model", "it's", 'a "b"', "$HOME", "a;b", "`a`", "~x", "-x", "é", "*"),
        *("a\nb'c\\d", os.fsdecode(b"caf\xe9 1")),
    ],
)
def test_a_shell_reads_a_word_as_the_very_path(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    word = shell_word(Path(name))
    assert "\n" not in word
    done = subprocess.run(
        ["bash", "-c", f'cd {word} && printf %s "${{PWD##*/}}"'],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert os.fsdecode(done.stdout) == name
