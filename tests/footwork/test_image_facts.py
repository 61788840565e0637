"""What a file tells of its picture is read beside its pixels; what is spoilt is left out."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from footwork.images.decoding import decode_image, read_image
from footwork.images.facts import ImageFacts
from tests.pictures import FORMATS, HEIGHT, WIDTH, encoded, quarters

WITH_EXIF = ["AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP"]
OF_MAIN = ("DateTime", "Make", "Model", "Orientation")
NEW_YEAR = "2020:01:01 00:00:00"
NEW_YEAR_SECONDS = 1_577_836_800


def exif(**values: Any) -> bytes:
    """Tags by Pillow's names; the dates of taking and digitizing go where cameras put them."""
    tags = Image.Exif()
    for name, value in values.items():
        place = tags if name in OF_MAIN else tags.get_ifd(IFD.Exif)
        place[Base[name]] = value
    return tags.tobytes()


def facts_of(format_name: str = "JPEG", **values: Any) -> ImageFacts:
    return read_image(encoded(quarters(), format_name, exif=exif(**values))).facts


def tagged(tag: int, kind: int, value: bytes) -> bytes:
    """EXIF data with one tag, whatever its type ought to be."""
    directory = b"\x00\x01" + tag.to_bytes(2) + kind.to_bytes(2)
    count = len(value) if kind in (1, 2, 7) else 1
    body = directory + count.to_bytes(4) + (26).to_bytes(4) + bytes(4) + value
    return b"Exif\0\0MM\x00\x2a\x00\x00\x00\x08" + body


def test_a_jpeg_with_another_picture_behind_it_is_a_jpeg() -> None:
    several = encoded(quarters(), "MPO", save_all=True, append_images=[quarters()])
    assert read_image(several).facts.format == "jpeg"


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("side", [None, 9])
def test_facts_and_picture_come_as_they_would_alone(
    format_name: str, side: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(quarters(), format_name))
    decoded = read_image(path, side)
    assert decoded.image == decode_image(path.read_bytes(), side)
    assert decoded.facts == ImageFacts(format=format_name.lower(), width=WIDTH, height=HEIGHT)


def test_a_jpeg_decoded_at_a_fraction_keeps_the_size_of_its_file() -> None:
    content = encoded(quarters(1000, 640), "JPEG", exif=exif(Orientation=6))
    decoded = read_image(content, 20)
    assert decoded.image.size == (80, 125)
    assert (decoded.facts.width, decoded.facts.height) == (640, 1000)


@pytest.mark.parametrize("format_name", WITH_EXIF)
def test_date_and_camera_are_read_from_any_format_that_has_them(format_name: str) -> None:
    found = facts_of(format_name, DateTimeOriginal=NEW_YEAR, Make="Canon", Model="EOS")
    assert found.date == NEW_YEAR_SECONDS
    assert found.camera == "Canon EOS"


def test_the_date_of_taking_goes_before_digitizing_and_that_before_the_last_change() -> None:
    names = ["DateTimeOriginal", "DateTimeDigitized", "DateTime"]
    dates = {name: f"200{year}:01:01 00:00:00" for year, name in enumerate(names)}
    for first in range(3):
        found = facts_of(**{name: dates[name] for name in names[first:]})
        expected = datetime.datetime(2000 + first, 1, 1, tzinfo=datetime.UTC)
        assert found.date == expected.timestamp()


NO_DATES = [
    *("0000:00:00 00:00:00", "2020:13:01 00:00:00", "2021:02:29 00:00:00", "0001:01:01 00:00:00"),
    *("20200:01:01 00:00:00", "2020:01:011", "    :  :     :  :  ", "\0\0\0\0", "", "yesterday"),
]


@pytest.mark.parametrize("bad", NO_DATES)
def test_a_date_that_no_calendar_has_gives_way_to_the_next(bad: str) -> None:
    assert facts_of(DateTimeOriginal=bad, DateTime=NEW_YEAR).date == NEW_YEAR_SECONDS
    assert facts_of(DateTimeOriginal=bad).date is None


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-01 00:00:00",
        "2020-01-01T00:00:00.123+09:00",
        "2020:1:1 0:00",
        "2020:01:01",
        " 2020:01:01 00:00:00 ",
        "2020:01:01 00:00:00\0rest",
        "2020: 1: 1  0: 0: 0",
        "2020:01:01:00:00:00",
    ],
)
def test_a_date_may_be_written_in_other_ways(text: str) -> None:
    assert facts_of(DateTimeOriginal=text).date == NEW_YEAR_SECONDS


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("2019:12:31 24:00:00", "23:59:59"),
        ("2019:12:31 24:30:00", "23:59:59"),
        ("2019:12:31 25:00:00", "23:59:59"),
        ("2019:12:31 23:59:60", "23:59:59"),
        ("2019:12:31 12:60:00", "12:59:00"),
        ("2019:12:31 12:30:99", "12:30:59"),
        ("2019.12.31 12.30.15", "12:30:15"),
    ],
)
def test_a_time_that_no_clock_shows_keeps_its_day(text: str, clock: str) -> None:
    hours, minutes, seconds = map(int, clock.split(":"))
    of_day = 3600 * hours + 60 * minutes + seconds
    assert facts_of(DateTimeOriginal=text).date == NEW_YEAR_SECONDS - 86_400 + of_day


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("offset", [None, "+09:00", "-08:00", "Z"])
def test_a_date_is_what_the_clock_on_the_wall_showed(
    zone: str, offset: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        more = {} if offset is None else {"OffsetTimeOriginal": offset, "SubsecTimeOriginal": "99"}
        assert facts_of(DateTimeOriginal=NEW_YEAR, **more).date == NEW_YEAR_SECONDS
    finally:
        monkeypatch.undo()
        time.tzset()


XMP_DATE = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description {}</rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "said",
    [
        'exif:DateTimeOriginal="2020-01-01T00:00:00+05:30"/>',
        "xmp:CreateDate = '2020-01-01'/>",
        "><photoshop:DateCreated>2020-01-01T00:00:00.25</photoshop:DateCreated></rdf:Description>",
        'xmp:CreateDate="2021-03-04" exif:DateTimeOriginal="2020-01-01T00:00"/>',
        'exif:DateTimeOriginal="yesterday" xmp:CreateDate="2020-01-01"/>',
    ],
)
def test_a_date_may_stand_in_xmp(format_name: str, said: str) -> None:
    packet = XMP_DATE.format(said).encode()
    options: dict[str, Any] = {"xmp": packet}
    if format_name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        options = {"pnginfo": text}
    elif format_name == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = packet
        options = {"tiffinfo": tags}
    found = read_image(encoded(quarters(), format_name, **options)).facts
    assert found.date == NEW_YEAR_SECONDS
    before = encoded(quarters(), "JPEG", xmp=packet, exif=exif(DateTimeOriginal="2001:01:01"))
    assert read_image(before).facts.date == 978_307_200


@pytest.mark.parametrize(
    ("stamp", "clock", "seconds"),
    [
        ("2020:01:01", (0.0, 0.0, 7.5), 7),
        ("2020:01:01", None, 0),
        ("2020:01:01", (1.0,), 0),
        ("", (1.0, 2.0, 3.0), None),
    ],
)
def test_a_date_of_gps_is_better_than_none(
    stamp: str, clock: tuple[float, ...] | None, seconds: int | None
) -> None:
    tags = Image.Exif()
    gps = tags.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSDateStamp] = stamp
    if clock is not None:
        gps[GPS.GPSTimeStamp] = clock
    found = read_image(encoded(quarters(), "JPEG", exif=tags.tobytes())).facts
    assert found.date == (None if seconds is None else NEW_YEAR_SECONDS + seconds)
    tags[Base.DateTime] = "2001:01:01 00:00:00"
    found = read_image(encoded(quarters(), "JPEG", exif=tags.tobytes())).facts
    assert found.date == 978_307_200


def test_a_date_before_1970_is_negative() -> None:
    assert facts_of(DateTimeOriginal="1969:12:31 23:59:59").date == -1


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("samsung", "SM-G900F", "samsung SM-G900F"),
        ("Apple\0\0", "  iPhone\t14 \n Pro ", "Apple iPhone 14 Pro"),
        ("Apple\0nothing", "\0", "Apple"),
        ("", "DSC-W1", "DSC-W1"),
        ("\x1b[31mEvil", "", "[31mEvil"),
        ("  ", "", None),
        ("a" * 5000, "b", "a" * 80),
    ],
)
def test_a_camera_is_make_and_model_the_make_once(make: str, model: str, camera: str) -> None:
    assert facts_of(Make=make, Model=model).camera == camera


@pytest.mark.parametrize("tag", [Base.Make, Base.Model, Base.DateTime, IFD.Exif, Base.Orientation])
@pytest.mark.parametrize("kind", range(14))
def test_a_tag_of_another_type_than_it_ought_to_have_spoils_nothing(tag: int, kind: int) -> None:
    spoilt = tagged(tag, kind, b"\xff\xfe2020:01:01 \x00\x80" * 9)
    found = read_image(encoded(quarters(), "JPEG", exif=spoilt)).facts
    assert {found.width, found.height} == {WIDTH, HEIGHT}
    assert found.date is None
    assert found.camera is None or found.camera.isprintable()


@pytest.mark.parametrize("at", range(6, 120, 5))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_spoilt_exif_data_spoil_no_picture(format_name: str, at: int) -> None:
    whole = exif(DateTimeOriginal=NEW_YEAR, Make="Canon", Model="EOS", Orientation=1)
    for spoilt in (whole[:at], whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]):
        content = encoded(quarters(), format_name, exif=spoilt)
        decoded = read_image(content)
        found = decoded.facts
        assert (found.width, found.height) == decoded.image.size
        assert found.format == format_name.lower()


def test_a_tiff_tells_the_same_of_itself_by_its_own_tags() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[Base.Make], tags[Base.Model], tags[Base.DateTime] = "Epson", "V600", NEW_YEAR
    found = read_image(encoded(quarters(), "TIFF", tiffinfo=tags)).facts
    assert (found.camera, found.date) == ("Epson V600", NEW_YEAR_SECONDS)


def test_whatever_pillow_raises_over_details_the_picture_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("spoilt")

    content = encoded(quarters(), "PNG", exif=exif(DateTime=NEW_YEAR, Make="Canon"))
    monkeypatch.setattr(Image.Exif, "get_ifd", fail)
    assert read_image(content).facts.date == NEW_YEAR_SECONDS
    monkeypatch.setattr(Image.Exif, "get", fail)
    assert read_image(content).facts == ImageFacts(format="png", width=WIDTH, height=HEIGHT)
    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert read_image(content).facts == ImageFacts(format="png", width=WIDTH, height=HEIGHT)
