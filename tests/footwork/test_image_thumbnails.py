"""Thumbnails are small, upright, and made once."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from footwork.errors import ImageError
from footwork.images import thumbnails
from footwork.images.decoding import decode_image
from footwork.images.thumbnails import Thumbnails, thumbnail_jpeg
from tests.mutations import deadline, mutations
from tests.pictures import FORMATS, difference, encoded, quarters


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(quarters(300, 200), "JPEG"))
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was decoded."""
    sources: list[object] = []
    decode = thumbnails.decode_image

    def note(source: Path | bytes, side: int | None = None) -> Image.Image:
        sources.append(source)
        return decode(source, side)

    monkeypatch.setattr(thumbnails, "decode_image", note)
    return sources


def content_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_thumbnail_is_a_jpeg_of_the_whole_picture(format_name: str) -> None:
    made = decode_image(thumbnail_jpeg(encoded(quarters(), format_name), 48))
    assert made.size == (48, 32)
    assert difference(made, quarters()) < 16


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (4000, 500), (97, 97)])
def test_the_longest_side_is_as_asked_whatever_the_fraction(size: tuple[int, int]) -> None:
    with Image.open(BytesIO(thumbnail_jpeg(encoded(quarters(*size), "JPEG"), 90))) as made:
        assert max(made.size) == 90
        assert made.width / made.height == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_small_picture_is_not_enlarged() -> None:
    with Image.open(BytesIO(thumbnail_jpeg(encoded(quarters(), "PNG"), 480))) as made:
        assert (made.format, made.size) == ("JPEG", quarters().size)


def test_a_thumbnail_stands_upright_and_tells_nothing_of_its_file() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Canon"
    with Image.open(BytesIO(thumbnail_jpeg(encoded(quarters(), "JPEG", exif=exif), 48))) as made:
        assert made.size == (32, 48)
        assert not made.getexif()


def test_a_thumbnail_is_made_once_wherever_the_same_content_lies(
    picture: Path, tmp_path: Path, decoded: list[object]
) -> None:
    kept = Thumbnails(60, tmp_path / "kept")
    first = kept.of(picture, content_of(picture))
    copy = Path(shutil.copy(picture, tmp_path / "copy.jpg"))
    assert kept.of(copy, content_of(copy)) == first
    assert Thumbnails(60, tmp_path / "kept").of(picture, content_of(picture)) == first
    assert decoded == [picture]
    picture.unlink()
    assert kept.of(picture, content_of(copy)) == first


def test_sizes_are_kept_apart(picture: Path, tmp_path: Path) -> None:
    content = content_of(picture)
    sizes = {len(Thumbnails(side, tmp_path / "kept").of(picture, content)) for side in (20, 60)}
    assert len(sizes) == 2


def test_what_was_kept_and_spoilt_is_made_again(picture: Path, tmp_path: Path) -> None:
    kept, content = Thumbnails(60, tmp_path / "kept"), content_of(picture)
    first = kept.of(picture, content)
    file = next(path for path in (tmp_path / "kept").rglob("*") if path.is_file())
    whole = file.read_bytes()
    for mutation in mutations(file, count=20):
        with mutation.applied(file), deadline():
            assert kept.of(picture, content) == first
    assert file.read_bytes() == whole


def test_the_thumbnail_of_a_changed_file_is_not_taken_for_what_it_was(
    picture: Path, tmp_path: Path
) -> None:
    content = content_of(picture)
    picture.write_bytes(encoded(Image.new("RGB", (30, 20), "blue"), "PNG"))
    kept = Thumbnails(60, tmp_path / "kept")
    assert decode_image(kept.of(picture, content)).size == (30, 20)
    assert not (tmp_path / "kept").exists()


def test_without_a_known_content_nothing_is_kept(picture: Path, tmp_path: Path) -> None:
    for content in ("", "../../etc", "/"):
        Thumbnails(60, tmp_path / "kept").of(picture, content)
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(
    picture: Path, tmp_path: Path, decoded: list[object]
) -> None:
    (tmp_path / "kept").write_text("a file")
    kept, content = Thumbnails(60, tmp_path / "kept"), content_of(picture)
    assert kept.of(picture, content) == kept.of(picture, content) == thumbnail_jpeg(picture, 60)
    assert len(decoded) == 3


def test_a_full_disk_leaves_nothing_behind(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert Thumbnails(60, tmp_path / "kept").of(picture, content_of(picture))
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]


def test_threads_may_ask_for_the_same_at_once(picture: Path, tmp_path: Path) -> None:
    kept, content = Thumbnails(60, tmp_path / "kept"), content_of(picture)
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: kept.of(picture, content), range(32)))
    assert made == {thumbnail_jpeg(picture, 60)}
    assert sum(path.is_file() for path in (tmp_path / "kept").rglob("*")) == 1


def test_what_is_no_picture_has_no_thumbnail(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="it does not exist"):
        Thumbnails(60, tmp_path / "kept").of(tmp_path / "gone.jpg", "ab" * 32)


def test_a_side_is_at_least_a_pixel() -> None:
    with pytest.raises(ValueError, match="`side` must be at least 1 pixel, got 0"):
        Thumbnails(0)
