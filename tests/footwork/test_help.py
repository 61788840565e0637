"""Help pages are for a reader: whole sentences, options in groups, nothing that says nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LISTED = (Path(__file__).parents[1] / "goldens" / "commands.txt").read_text("utf-8")
PAGES = re.findall(r"^footwork (.*) --help$", LISTED, re.MULTILINE)
COMMANDS = [page for page in PAGES if " " in page]
SCRIPT = """
import sys
from footwork.cli import main
for page in sys.argv[1:]:
    print(end="\\0", flush=True)
    assert main([*page.split(), "--help"]) == 0
"""


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Each on a terminal so wide that nothing needs to be broken."""
    run = [sys.executable, "-c", SCRIPT, *PAGES]
    said = subprocess.check_output(run, text=True, env=os.environ | {"COLUMNS": "2000"})
    return dict(zip(PAGES, said.split("\0")[1:], strict=True))


@pytest.mark.parametrize("page", PAGES)
def test_only_the_end_of_a_terminal_breaks_a_line(page: str, pages: dict[str, str]) -> None:
    rows = re.findall(r"^│ (.*) │$", pages[page], re.MULTILINE)
    assert rows
    assert [row for row in rows if not re.match(r"(\*  | {3})?[-A-Za-z]", row)] == []
    described = pages[page].partition("╭")[0].strip().split("\n\n")
    assert not [paragraph for paragraph in described if "\n" in paragraph]


@pytest.mark.parametrize("page", COMMANDS)
def test_options_stand_in_groups_and_say_what_happens_without_them(
    page: str, pages: dict[str, str]
) -> None:
    groups = re.findall(r"^╭─ (.*?) ─", pages[page], re.MULTILINE)
    assert groups
    assert "Parameters" not in groups
    assert "Arguments" not in groups[1:]
    assert "Output and the run" not in groups[:-1]
    assert not re.search(r"\bNone\b|\[default: (\(\)|False)\]", pages[page])
    options = re.findall(r"^│ (?:\*  | {3})?(-.*?)(?: {2,}|$)(.*?) *│$", pages[page], re.MULTILINE)
    assert options
    assert [names for names, said in options if not said] == []


def test_choices_are_shown_and_a_flag_that_is_off_has_one_name(pages: dict[str, str]) -> None:
    assert "[choices: auto, bf16, float32]" in pages["textclf train"]
    assert "--no-overwrite" not in pages["textclf train"]
    assert "--look --no-look" in pages["search duplicates"]
