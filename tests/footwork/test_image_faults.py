"""A file that ends as no picture ends as a reason, and nothing else is heard of it."""

from __future__ import annotations

import logging
import os
import pickle
import random
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from footwork.errors import ImageError
from footwork.images import decoding
from footwork.images.decoding import decode_image, read_image
from tests.pictures import FORMATS, HEIGHT, WIDTH, difference, encoded, quarters, reason


def declared_larger(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header tells of other pixels than it holds."""
    at = re.search(b"\xff[\xc0\xc2]\x00\x11\x08", content).end()
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def test_too_many_pixels_are_refused_by_the_header() -> None:
    png = bytearray(encoded(quarters(), "PNG"))
    png[16:24] = struct.pack(">II", 20_000, 20_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    assert reason(bytes(png)) == "it has more than 179 megapixels"
    jpeg = encoded(quarters(), "JPEG")
    whole, part = declared_larger(jpeg, 16_320, 12_240), declared_larger(jpeg, 65_000, 65_000)
    assert reason(whole) == "it has 200 megapixels, over the limit of 179"
    assert reason(part, 224) == "it has 4225 megapixels, over the limit of 358"


def test_the_limit_does_not_hang_on_the_one_that_others_set_in_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 6000)
    assert "over the limit" in reason(encoded(quarters(), "PNG"))


def test_a_large_jpeg_of_which_a_part_will_do_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 4000)
    monkeypatch.setattr(decoding, "MAX_PIXELS_IN_PART", 8000)
    content = encoded(quarters(), "JPEG")
    assert "over the limit" in reason(content)
    assert "over the limit" in reason(content, side=40)  # no fraction leaves 80 pixels
    assert decode_image(content, side=16).size == (WIDTH // 2, HEIGHT // 2)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_half_a_file_is_no_picture(format_name: str) -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
    content = encoded(noise, format_name)
    assert reason(content[: len(content) * 2 // 3]).startswith("it ")
    if format_name in ("JPEG", "PNG"):
        assert reason(content[: len(content) * 2 // 3]) == "it is truncated"


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        *(("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"quality": 30})),
        *((name, {}) for name in ("PNG", "GIF", "BMP", "PPM", "TIFF")),
    ],
)
@pytest.mark.parametrize("cut", [1, 2])
def test_a_file_that_lacks_its_last_bytes_is_shown(
    format_name: str, options: dict[str, object], cut: int
) -> None:
    content = encoded(quarters(), format_name, **options)
    shown = read_image(content[:-cut])
    assert difference(shown.image, quarters()) < 12
    assert shown.missing < 0.001
    if format_name == "JPEG":
        assert shown.note is None  # they are but the mark of its end
        assert difference(decode_image(content[:-cut] + bytes(5000)), quarters()) < 12


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "BMP", "PPM"])
def test_what_is_missing_is_told_up_to_a_bound(format_name: str) -> None:
    noise = Image.frombytes("RGB", (256, 256), random.Random(1).randbytes(256 * 256 * 3))
    content = encoded(noise, format_name)
    shown = read_image(content[: round(len(content) * 0.98)])
    assert 0.01 < shown.missing < 0.03
    assert shown.note == f"its end is missing, {shown.missing:.1%} of the picture"
    there = np.abs(np.asarray(shown.image, int) - np.asarray(decode_image(content)))
    assert (there.max(axis=-1) == 0).mean() > 0.95
    assert reason(content[: round(len(content) * 0.9)]) == "it is truncated"


@pytest.mark.parametrize("restarts", [{}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("left", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_jpeg_that_lost_more_than_its_end_is_refused_however_little_is_left(
    left: float, restarts: dict[str, int]
) -> None:
    small = Image.frombytes("RGB", (40, 30), random.Random(2).randbytes(40 * 30 * 3))
    stream = BytesIO()
    small.resize((400, 300), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=60, **restarts)
    content = stream.getvalue()
    assert reason(content[: round(len(content) * left)]) == "it is truncated"
    assert 0 < read_image(content[: round(len(content) * 0.98)]).missing < 0.03


def chunk(kind: bytes, body: bytes, spoil: int = 0) -> bytes:
    checksum = zlib.crc32(kind + body) ^ spoil
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", checksum)


LONG = zlib.compress(bytes(3 << 20))
REMARKS = [
    chunk(b"tEXt", b"a\0b", spoil=1),
    chunk(b"gAMA", b"\0\0\xb1\x8f", spoil=1),
    chunk(b"gAMA", b"\0"),
    chunk(b"zTXt", b"workflow\0\0" + LONG),
    chunk(b"iTXt", b"workflow\0\1\0\0\0" + LONG),
    chunk(b"iCCP", b"wide\0\0" + LONG),
    chunk(b"iCCP", b"wide\0\7" + LONG),
    b"".join(chunk(b"tEXt", b"a\0" + bytes(1 << 20)) for _ in range(65)),
]


@pytest.mark.parametrize("remark", REMARKS)
@pytest.mark.parametrize("mode", ["RGB", "P", "1"])
def test_a_png_is_shown_whatever_its_remarks(remark: bytes, mode: str) -> None:
    picture = quarters().convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 3
    content = encoded(picture, "PNG", exif=exif)
    for spoilt in (content[:33] + remark + content[33:], content[:-12] + remark + content[-12:]):
        shown = read_image(spoilt)
        assert shown.image == picture.convert("RGB").transpose(Image.Transpose.ROTATE_180)
        assert shown.missing == 0


def test_a_mended_png_keeps_the_date_of_its_xmp() -> None:
    info = PngInfo()
    xmp = '<a exif:DateTimeOriginal="1970-01-02T00:00:00"/>'
    info.add_itxt("XML:com.adobe.xmp", xmp)
    info.add_text("remark", "spoilt")
    stream = BytesIO()
    quarters().save(stream, "PNG", pnginfo=info)
    assert read_image(stream.getvalue().replace(b"spoilt", b"SPOILT")).facts.date == 86_400


def interlaced_png() -> bytes:
    """Four pixels in a row, 10, 20, 30, 40, of two passes beside the first."""
    rows = b"\0\x0a" + b"\0\x1e" + b"\0\x14\x28"  # passes 1, 4 and 6
    head = struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 1)
    parts = chunk(b"IHDR", head), chunk(b"tEXt", b"a", 1), chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_an_interlaced_png_is_mended_too() -> None:
    shown = decode_image(interlaced_png())
    assert [shown.getpixel((x, 0))[0] for x in range(4)] == [10, 20, 30, 40]


def test_a_mended_png_is_no_bomb() -> None:
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"tEXt", b"a", 1), chunk(b"IDAT", zlib.compress(b""))
    assert reason(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).startswith("it is no picture")


def test_nothing_is_made_of_a_png_that_claims_much_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(decoding.zlib, "compress", lambda rows, _: made.append(rows) or b"")
    head = struct.pack(">IIBBBBB", 500, 500, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", b"\x78\x9c")
    assert reason(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).startswith("it is truncated")
    assert made == []


@pytest.mark.parametrize("format_name", FORMATS)
def test_whatever_happens_to_its_bytes_a_file_ends_as_a_picture_or_a_reason(
    format_name: str,
) -> None:
    generator = random.Random(FORMATS.index(format_name))
    whole = encoded(quarters(24, 16), format_name)
    for _ in range(60):
        content = bytearray(whole[: generator.randrange(1, len(whole) + 1)])
        for _ in range(generator.randrange(4)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            ending = decode_image(bytes(content), 4).mode
        except ImageError as error:
            ending = error.reason
        assert ending == "RGB" or re.fullmatch(r"(it|there) [^\n]{3,200}", ending)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"Dear all, this is a letter.\n" * 9, "it is no picture of a known kind"),
        (b"\0" * 400, "it is no picture of a known kind"),
        (b"\xff\xd8\xff", "it "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", r"drawing \(EPS\)"),
    ],
)
def test_what_is_no_picture_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: .*{expected}.*\\.$"):
        decode_image(path)
    with pytest.raises(ImageError, match=f"^{len(content)} bytes: .*{expected}"):
        decode_image(content)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Path.mkdir, "it is a folder"),
        (os.mkfifo, "it is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
        (lambda path: path.symlink_to(path.with_name("gone.jpg")), "it does not exist"),
    ],
)
def test_what_is_no_file_is_told_at_once(
    tmp_path: Path, make: Callable[[Path], None], expected: str
) -> None:
    make(tmp_path / "x.jpg")
    assert reason(tmp_path / "x.jpg") == expected


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Path(__file__).stat()
    os.mkfifo(tmp_path / "x.jpg")
    monkeypatch.setattr(Path, "stat", lambda *_, **__: state)
    assert reason(tmp_path / "x.jpg") == "it is no regular file"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("image file is truncated (20 bytes not processed)"), "it is truncated"),
        (OSError(5, "Input/output error"), "it cannot be read: input/output error"),
        (PermissionError(13, "Permission denied"), "it cannot be read: permission denied"),
        (EOFError(), "it is truncated"),
        (MemoryError(), "there is not enough memory to decode it"),
        (KeyError("no\nsuch tag"), r"it cannot be decoded: 'no\\nsuch tag'"),
        (ValueError("two\n lines"), "it cannot be decoded: two lines"),
        (NotImplementedError(), "it cannot be decoded: NotImplementedError"),
        (RecursionError("x" * 999), "it cannot be decoded: " + "x" * 120),
        (struct.error("odd"), "it cannot be decoded: odd"),
        (UserWarning("odd"), "it cannot be decoded: odd"),
    ],
)
def test_whatever_pillow_raises_becomes_a_reason(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: ImageFile.ImageFile) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert re.fullmatch(expected, reason(encoded(quarters(), "BMP")))


def test_an_interruption_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: ImageFile.ImageFile) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_image(encoded(quarters(), "BMP"))


def test_heic_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(quarters(), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    expected = "it is HEIC; to read such files: pip install 'footwork[heic]'"
    assert reason(content) == expected
    assert decode_image(encoded(quarters(), "AVIF")).size == (WIDTH, HEIGHT)


def test_heic_is_not_registered_for_others() -> None:
    decode_image(encoded(quarters(), "HEIF"))
    assert "HEIF" not in Image.ID


def with_spoilt_exif() -> bytes:
    """A JPEG whose EXIF data point beyond their end."""
    entry = struct.pack("<HHII", 0x010E, 2, 10_000, 5000)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + b"\0\0\0\0"
    return encoded(quarters(), "JPEG", exif=exif)


def test_remarks_on_odd_files_reach_nobody_from_any_thread() -> None:
    content = with_spoilt_exif()
    with pytest.warns(UserWarning, match="Tag data larger|Truncated File Read"):
        Image.open(BytesIO(content)).getexif()

    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(decode_image, [content] * 80))
    assert all(difference(picture, quarters()) < 12 for picture in pictures)
    with pytest.raises(UserWarning, match="of my own"):
        warnings.warn("of my own", stacklevel=1)


def test_nothing_is_logged_to_the_screen(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    decode_image(encoded(quarters(), "TIFF"))
    logging.getLogger(TiffImagePlugin.__name__).error("more samples than can be decoded")
    assert capfd.readouterr().err == ""


def test_a_reason_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(ImageError("a.jpg", "it is empty")))
    assert (str(sent), sent.name, sent.reason) == ("a.jpg: it is empty.", "a.jpg", "it is empty")
