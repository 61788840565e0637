"""Pictures between the lines of a terminal, in the ways that terminals know.

Which way one knows is told by what it leaves in the environment: asking it would take its keyboard.
Sources: sw.kovidgoyal.net/kitty/graphics-protocol, iterm2.com/documentation-images.html, and for
Sixel the VT3xx programmer reference, chapter 14.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

PictureProtocol = Literal["kitty", "iterm2", "sixel", "blocks"]
"""`blocks` are characters in two colours each, for any terminal of 16 million colours."""

_BY_PROGRAM: dict[str, PictureProtocol] = {
    "ghostty": "kitty",
    "iTerm.app": "iterm2",
    "WezTerm": "iterm2",
    "mintty": "iterm2",
    "WarpTerminal": "iterm2",
    "contour": "sixel",
}
_BY_TERM: dict[str, PictureProtocol] = {
    "xterm-kitty": "kitty",
    "xterm-ghostty": "kitty",
    "wezterm": "iterm2",
    "foot": "sixel",
    "foot-extra": "sixel",
    "mlterm": "sixel",
    "contour": "sixel",
}
# Their pictures would have to be passed through, which they mostly refuse; characters they take.
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")

_ESCAPE, _END = "\x1b", "\x1b\\"
_KITTY_CHUNK = 4096  # characters, the most it takes at once
_ROW_PIXELS = 20  # of a usual terminal; where it has more or fewer, the picture is so much smaller
_COLOURS = 256
_SIXEL_ROWS = 6


def picture_protocol(
    environment: Mapping[str, str], is_terminal: bool = True
) -> PictureProtocol | None:
    """How pictures can be shown; None if not at all.

    Args:
        environment: Of the process, as `os.environ`.
        is_terminal: Whether output goes to one.
    """
    term = environment.get("TERM", "")
    if not is_terminal or term == "dumb":
        return None
    if not any(environment.get(name) for name in _MULTIPLEXERS):
        known = _BY_TERM.get(term) or _BY_PROGRAM.get(environment.get("TERM_PROGRAM", ""))
        if known is not None:
            return known
        if environment.get("LC_TERMINAL") == "iTerm2":  # which ssh passes on
            return "iterm2"
    colours = environment.get("COLORTERM", "").lower()
    return "blocks" if colours in ("truecolor", "24bit") and not _is_plain(environment) else None


def picture_sequence(picture: bytes, protocol: PictureProtocol, rows: int = 10) -> str:
    """What to print so that a terminal shows a picture; it ends before the end of its last line.

    Args:
        picture: JPEG or PNG, small.
        protocol: Of `picture_protocol`.
        rows: Height in lines of the terminal.

    Raises:
        ImageError: It is no picture.
    """
    if rows < 1:
        raise ValueError(f"`rows` must be at least 1, got {rows}.")
    if protocol == "iterm2":
        arguments = f"inline=1;size={len(picture)};height={rows};preserveAspectRatio=1"
        return f"{_ESCAPE}]1337;File={arguments}:{b64encode(picture).decode()}\a"
    from footwork.images.decoding import decode_image

    decoded = decode_image(picture)
    if protocol == "kitty":
        return _kitty(decoded, rows)
    return _sixel(decoded, rows) if protocol == "sixel" else _blocks(decoded, rows)


def _is_plain(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("NO_COLOR"))  # no-color.org


def _kitty(picture: Image, rows: int) -> str:
    stream = BytesIO()
    _fitted(picture, 2 * rows * _ROW_PIXELS).save(stream, "PNG")  # the only file it reads
    data = b64encode(stream.getvalue()).decode()
    chunks = [data[i : i + _KITTY_CHUNK] for i in range(0, len(data), _KITTY_CHUNK)]
    said = []
    for number, chunk in enumerate(chunks, start=1):
        begin = f"a=T,f=100,q=2,r={rows}," if number == 1 else ""
        more = int(number < len(chunks))
        said.append(f"{_ESCAPE}_G{begin}m={more};{chunk}{_END}")
    return "".join(said)


def _blocks(picture: Image, rows: int) -> str:
    """Each character is two pixels, its upper half in the colour of writing."""
    fitted = _fitted(picture, 2 * rows)
    width, height = fitted.size
    pixels = fitted.tobytes()

    def colour(x: int, y: int) -> str:
        start = 3 * (y * width + x)
        return "{};{};{}".format(*pixels[start : start + 3])

    lines = []
    for y in range(0, height, 2):
        cells = (
            f"{_ESCAPE}[38;2;{colour(x, y)};48;2;{colour(x, y + 1)}m▀"
            if y + 1 < height
            else f"{_ESCAPE}[38;2;{colour(x, y)};49m▀"
            for x in range(width)
        )
        lines.append("".join(cells) + f"{_ESCAPE}[0m")
    return "\n".join(lines)


def _sixel(picture: Image, rows: int) -> str:
    fitted = _fitted(picture, rows * _ROW_PIXELS)
    coloured = fitted.quantize(_COLOURS)
    width, height = coloured.size
    palette = coloured.getpalette() or []
    percents = [round(value * 100 / 255) for value in palette]
    colours = len(percents) // 3
    said = [f'{_ESCAPE}P0;1q"1;1;{width};{height}']
    said += ["#{};2;{};{};{}".format(i, *percents[3 * i : 3 * i + 3]) for i in range(colours)]
    pixels = coloured.tobytes()
    lines = [pixels[start : start + width] for start in range(0, len(pixels), width)]
    bands = [lines[top : top + _SIXEL_ROWS] for top in range(0, height, _SIXEL_ROWS)]
    said.append("-".join("$".join(_sixel_lines(band)) for band in bands))
    return "".join([*said, _END])


def _sixel_lines(band: list[bytes]) -> Iterator[str]:
    """One line of a band for each of its colours, drawn over one another.

    Args:
        band: Up to six rows of colour numbers.
    """
    lines: dict[int, list[int]] = {}
    for bit, row in enumerate(band):
        for x, colour in enumerate(row):
            lines.setdefault(colour, [0] * len(row))[x] |= 1 << bit
    for colour, masks in lines.items():
        yield f"#{colour}" + _run_lengths("".join(chr(63 + mask) for mask in masks))


def _run_lengths(line: str) -> str:
    runs = ((len("".join(same)), sign) for sign, same in groupby(line))
    return "".join(f"!{count}{sign}" if count > 3 else count * sign for count, sign in runs)


def _fitted(picture: Image, height: int) -> Image:
    """At most so many pixels high, and no wider than three times that."""
    fitted = picture.copy()
    fitted.thumbnail((3 * height, height))
    return fitted
