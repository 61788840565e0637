"""What a terminal is sent is the picture, in the way that it knows."""

from __future__ import annotations

import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from footwork.errors import ImageError
from footwork.images.decoding import decode_image
from search.answers.terminal_pictures import PictureProtocol, picture_protocol, picture_sequence
from tests.pictures import difference, encoded, quarters

PROTOCOLS: list[PictureProtocol] = ["kitty", "blocks"]
TRUE_COLOUR = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def noise(width: int = 120, height: int = 90) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def kitty_picture(sequence: str) -> Image.Image:
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sequence)
    assert all(len(data) <= 4096 for _, data in parts)
    assert [re.search(r"m=(\d)", keys)[1] for keys, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    assert "f=100" in parts[0][0]
    content = b64decode("".join(data for _, data in parts))
    assert content.startswith(b"\x89PNG")
    return decode_image(content)


def block_picture(sequence: str) -> Image.Image:
    lines = sequence.splitlines()
    assert all(line.endswith("\x1b[0m") for line in lines)
    cell = r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀"
    rows = []
    for line in lines:
        cells = np.array([list(map(int, found)) for found in re.findall(cell, line)], np.uint8)
        rows += [cells[:, :3], cells[:, 3:]]
    return Image.fromarray(np.stack(rows))


@pytest.mark.parametrize("format_name", ["JPEG", "PNG"])
def test_each_way_shows_the_picture(format_name: str) -> None:
    content = encoded(quarters(), format_name)
    assert difference(kitty_picture(picture_sequence(content, "kitty")), quarters()) < 12
    assert difference(block_picture(picture_sequence(content, "blocks")), quarters()) < 12
    assert kitty_picture(picture_sequence(encoded(noise(), "PNG"), "kitty")) == noise()


def test_a_picture_takes_ten_lines() -> None:
    content = encoded(quarters(600, 600), "PNG")
    assert picture_sequence(content, "blocks").count("\n") == 9
    assert "r=10," in picture_sequence(content, "kitty")


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (400, 3), (3, 400)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_picture_is_too_small_or_narrow(
    protocol: PictureProtocol, size: tuple[int, int]
) -> None:
    assert picture_sequence(encoded(quarters(*size), "PNG"), protocol)


def test_a_line_that_is_half_full_leaves_its_lower_half() -> None:
    assert ";49m▀" in picture_sequence(encoded(quarters(4, 3), "PNG"), "blocks")


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty", "COLORTERM": "truecolor"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        (TRUE_COLOUR | {"TERM_PROGRAM": "iTerm.app"}, "blocks"),
        ({"TERM": "foot"}, None),
        (TRUE_COLOUR, "blocks"),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit"}, "blocks"),
        (TRUE_COLOUR | {"NO_COLOR": "1"}, None),
        (TRUE_COLOUR | {"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        (TRUE_COLOUR | {"TERM": "dumb"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({}, None),
    ],
)
def test_a_terminal_is_known_by_its_environment(
    environment: dict[str, str], protocol: PictureProtocol | None
) -> None:
    assert picture_protocol(environment) == protocol
    assert picture_protocol(environment, is_terminal=False) is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_cannot_be_shown_is_refused(protocol: PictureProtocol) -> None:
    with pytest.raises(ImageError, match="it is no picture of a known kind"):
        picture_sequence(b"hello", protocol)
