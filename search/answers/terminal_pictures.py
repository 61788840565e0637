"""Images between the lines of a terminal: by kitty's protocol, else in characters.

Which one a terminal knows is told by what it leaves in the environment: asking it would take its
keyboard. Source: sw.kovidgoyal.net/kitty/graphics-protocol.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

PictureProtocol = Literal["kitty", "blocks"]
"""`blocks` are characters in two colours each, for any terminal of 16 million colours."""

_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
# Their images would have to be passed through, which they mostly refuse; characters they take.
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")

_ESCAPE, _END = "\x1b", "\x1b\\"
_KITTY_CHUNK = 4096  # characters, the most it takes at once
_ROWS = 10  # lines of an image
_ROW_PIXELS = 20  # of a usual terminal; where it has more or fewer, the image is so much smaller


def picture_protocol(
    environment: Mapping[str, str], is_terminal: bool = True
) -> PictureProtocol | None:
    """How images can be shown by this environment, where output goes to a terminal at all."""
    term = environment.get("TERM", "")
    if not is_terminal or term == "dumb":
        return None
    is_kitty = term in _KITTY_TERMS or environment.get("TERM_PROGRAM") == "ghostty"
    if is_kitty and not any(environment.get(name) for name in _MULTIPLEXERS):
        return "kitty"
    colours = environment.get("COLORTERM", "").lower()
    plain = environment.get("NO_COLOR")  # no-color.org
    return "blocks" if colours in ("truecolor", "24bit") and not plain else None


def picture_sequence(picture: bytes, protocol: PictureProtocol) -> str:
    """What to print so that a terminal shows a JPEG or PNG, ten of its lines high at most.

    It ends before the end of its last line. `ImageError` if it is no image.
    """
    from footwork.images.decoding import decode_image

    decoded = decode_image(picture)
    return _kitty(decoded) if protocol == "kitty" else _blocks(decoded)


def _kitty(image: Image) -> str:
    stream = BytesIO()
    _fitted(image, 2 * _ROWS * _ROW_PIXELS).save(stream, "PNG")  # the only file it reads
    data = b64encode(stream.getvalue()).decode()
    parts: list[str] = []
    for start in range(0, len(data), _KITTY_CHUNK):
        begin = "" if parts else f"a=T,f=100,q=2,r={_ROWS},"
        more = int(start + _KITTY_CHUNK < len(data))
        parts.append(f"{_ESCAPE}_G{begin}m={more};{data[start : start + _KITTY_CHUNK]}{_END}")
    return "".join(parts)


def _blocks(image: Image) -> str:
    """Each character is two pixels, its upper half in the colour of writing."""
    import numpy as np

    pixels = np.asarray(_fitted(image, 2 * _ROWS)).tolist()
    lines = []
    for y in range(0, len(pixels), 2):
        cells = []
        for x, above in enumerate(pixels[y]):
            below = "48;2;{};{};{}".format(*pixels[y + 1][x]) if y + 1 < len(pixels) else "49"
            cells.append("{}[38;2;{};{};{};{}m▀".format(_ESCAPE, *above, below))
        lines.append("".join(cells) + f"{_ESCAPE}[0m")
    return "\n".join(lines)


def _fitted(image: Image, height: int) -> Image:
    """At most so many pixels high, and no wider than three times that."""
    fitted = image.copy()
    fitted.thumbnail((3 * height, height))
    return fitted
