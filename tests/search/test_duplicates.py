"""Duplicates are found, grouped around the image to keep, and never deleted."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from footwork.cli import main
from footwork.errors import ConfigError
from footwork.images.thumbnails import Thumbnails
from search.duplicates.duplicates import Duplicates, find_duplicates
from search.duplicates.pca_bound import PcaBound, near_rows
from search.duplicates.rows import duplicates_lines, spare_paths
from search.pages.image_pages import write_duplicates_page
from search.store.protocol import Changes, Embedded
from tests.search.places import index_of
from tests.search.store_contract import Engine, clustered, record, unit


def scene(number: int, side: int = 240) -> Image.Image:
    """A soft picture like no other number's."""
    pixels = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((side * 4 // 3, side), Image.Resampling.NEAREST)
    return picture.filter(ImageFilter.GaussianBlur(side / 60))


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def found_in(folder: Path, near: float | None = None, *, look: bool = True) -> Duplicates:
    with closing(index_of(folder.with_name(f"{folder.name}.index"), folder).open()) as store:
        return find_duplicates(store, near, look=look)


def groups_of(found: Duplicates) -> dict[str, list[tuple[str, str]]]:
    return {
        Path(group.kept.path).name: [
            (Path(one.record.path).name, one.kind) for one in group.duplicates
        ]
        for group in found.groups
    }


def test_copies_compressed_smaller_and_brighter_ones_are_found(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(6):
        save(scene(number), photos / f"{number}.png")
    shutil.copy(photos / "0.png", photos / "a-copy-of-0.png")
    save(scene(1), photos / "1-compressed.jpg", quality=30)
    save(scene(2).resize((160, 120)), photos / "2-small.jpg")
    save(scene(3).point(lambda value: min(255, int(value * 1.1))), photos / "3-bright.jpg")
    os.utime(photos / "3.png", (1_000_000_000, 1_000_000_000))
    found = found_in(photos)
    assert groups_of(found) == {
        "0.png": [("a-copy-of-0.png", "exact")],
        "1.png": [("1-compressed.jpg", "near")],
        "2.png": [("2-small.jpg", "near")],
        "3.png": [("3-bright.jpg", "near")],
    }
    assert found.bytes == sum(
        (photos / name).stat().st_size
        for name in ("a-copy-of-0.png", "1-compressed.jpg", "2-small.jpg", "3-bright.jpg")
    )


def test_embeddings_that_agree_do_not_make_different_pictures_duplicates(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(6):  # faint ones: all of their embeddings nearly agree
        faint = scene(number).point(lambda value: 120 + value // 12)
        save(faint, photos / f"{number}.png")
    with closing(index_of(tmp_path / "index", photos).open()) as store:
        assert find_duplicates(store, 0.9, look=False).groups
        assert not find_duplicates(store, 0.9).groups


def test_pictures_of_other_shapes_are_no_duplicates(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(scene(0), photos / "broad.png")
    save(scene(0).resize((240, 240)), photos / "square.png")
    assert not found_in(photos).groups


def test_flat_pictures_are_duplicates_only_byte_for_byte(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name, grey in (("a", 200), ("b", 201), ("c", 200)):
        save(Image.new("RGB", (64, 48), (grey,) * 3), photos / f"{name}.png")
    found = found_in(photos)
    assert (groups_of(found), found.unseen) == ({"a.png": [("c.png", "exact")]}, 0)


def test_images_that_cannot_be_opened_are_counted_and_left_out(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(scene(0), photos / "a.png")
    gone = save(scene(0).resize((160, 120)), photos / "b.png")
    place = index_of(tmp_path / "index", photos)
    gone.unlink()
    with closing(place.open()) as store:
        found = find_duplicates(store)
        assert (found.groups, found.unseen) == ([], 1)
        assert groups_of(find_duplicates(store, look=False)) == {"a.png": [("b.png", "similar")]}


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ({"width": 700}, {}, "it has the most pixels"),
        ({"size": 2000}, {}, "its file is the largest"),
        ({"date": 10}, {"date": 20}, "it is the oldest"),
        ({"date": 10}, {"date": None}, "it is the oldest"),
    ],
)
def test_the_best_is_kept_and_said_why(
    engine: Engine, better: dict[str, int], worse: dict[str, int], why: str
) -> None:
    with closing(engine.make()) as store:
        vector = unit(np.ones(8))
        images = [
            Embedded(record("/photos/a", **worse), vector),
            Embedded(record("/photos/z", **better), vector),
        ]
        store.write(Changes(embedded=images))
        (group,) = find_duplicates(store, look=False).groups
    assert (group.kept.path, group.why) == ("/photos/z", why)
    assert [(one.kind, one.verified) for one in group.duplicates] == [("exact", False)]


def test_of_equal_ones_the_shortest_path_is_kept(engine: Engine) -> None:
    with closing(engine.make()) as store:
        vector = unit(np.ones(8))
        paths = ("/photos/copy/a", "/photos/b", "/photos/c")
        store.write(Changes(embedded=[Embedded(record(path), vector) for path in paths]))
        (group,) = find_duplicates(store, look=False).groups
    assert (group.kept.path, group.why) == ("/photos/b", "its path comes first")


def test_a_chain_of_likenesses_joins_nothing_that_differs(engine: Engine) -> None:
    angles = np.linspace(0, 1.5, 16)  # neighbours agree to a cosine of 0.995
    with closing(engine.make()) as store:
        images = [
            Embedded(
                record(f"/{n:02d}", content=f"{n:064d}"),
                unit([np.cos(angle), np.sin(angle), *[0] * 6]),
            )
            for n, angle in enumerate(angles)
        ]
        store.write(Changes(embedded=images))
        found = find_duplicates(store, 0.97, look=False)
    by_path = {image.record.path: image.vector for image in images}
    assert len(found.groups) > 1
    for group in found.groups:
        for one in group.duplicates:
            assert float(by_path[group.kept.path] @ by_path[one.record.path]) >= 0.97


def test_only_present_images_that_are_asked_for_are_compared(engine: Engine) -> None:
    from search.filters import Filter

    with closing(engine.make()) as store:
        vector = unit(np.ones(8))
        paths = ("/a/1", "/a/2", "/b/1", "/b/2")
        store.write(Changes(embedded=[Embedded(record(path), vector) for path in paths]))
        store.write(Changes(absent=["/b/2"]))
        assert len(find_duplicates(store, look=False).groups[0].duplicates) == 2
        (group,) = find_duplicates(store, where=Filter(folders=("/a",)), look=False).groups
        assert [one.record.path for one in group.duplicates] == ["/a/2"]
        assert not find_duplicates(store, where=Filter(folders=("/b",)), look=False).groups


def test_a_cosine_of_one_takes_the_same_bytes_alone(engine: Engine) -> None:
    with closing(engine.make()) as store:
        vector = unit(np.ones(8))
        images = [
            Embedded(record(f"/{n}", content=content * 64), vector)
            for n, content in enumerate("aab")
        ]
        store.write(Changes(embedded=images))
        (group,) = find_duplicates(store, 1.0, look=False).groups
        assert [one.record.path for one in group.duplicates] == ["/1"]
        with pytest.raises(ConfigError, match=r"`near` must be a cosine above 0, .* got 1\.5"):
            find_duplicates(store, 1.5)


def test_names_of_one_file_are_no_copies_of_it(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(scene(0), photos / "long name.png")
    (photos / "a.png").symlink_to("long name.png")
    os.link(photos / "long name.png", photos / "long name too.png")
    assert not found_in(photos).groups
    shutil.copy(photos / "long name.png", photos / "long name three.png")
    with closing(index_of(tmp_path / "index", photos).open()) as store:
        found = find_duplicates(store)
    assert groups_of(found) == {"long name.png": [("long name three.png", "exact")]}


def test_an_empty_index_has_no_duplicates(engine: Engine) -> None:
    with closing(engine.make()) as store:
        found = find_duplicates(store)
    assert list(duplicates_lines(found)) == ["No duplicates among 0 images."]


@pytest.mark.parametrize("width", [8, 96, 512])
def test_projected_never_hide_a_pair(width: int) -> None:
    vectors = clustered(600, width)
    vectors[300:] = unit(vectors[:300] + 0.02 * vectors[::-1][:300])
    projected = PcaBound(vectors[:100]).project(vectors)
    pairs = {
        (row, int(other))
        for row, others, _ in near_rows(projected, projected, 0.95, len(vectors))
        for other in others
    }
    cosines = vectors @ vectors.T
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(cosines >= 0.95)), strict=True)) <= pairs
    for row, others, most in near_rows(projected, projected, 0.95, len(vectors)):
        assert (cosines[row, others] <= most + 1e-4).all()


def test_a_page_shows_every_group_and_needs_nothing_else(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("a", "<b>", "c"):
        os.utime(save(scene(len(name)), photos / f"{name}.png"), (1_000_000_000, 1_000_000_000))
    found = found_in(photos)
    page = tmp_path / "page.html"
    write_duplicates_page(found, page, Thumbnails(100))
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg") == 2
    assert "keep: its path comes first" in text
    assert "<b>" not in text.replace("<b>the same bytes", "").replace("<b>keep", "")


@pytest.fixture(scope="module")
def tiny_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twins")
    save(scene(0), folder / "photos" / "one.png")
    save(scene(1), folder / "photos" / "two.png")
    shutil.copy(folder / "photos" / "one.png", folder / "photos" / "line\nend.png")
    index_of(folder / "index", folder / "photos")
    return folder / "index"


def test_the_command_tells_people_programs_and_trash_tools(
    tiny_index: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def said(*words: str) -> bytes:
        assert main(["search", "duplicates", "--index", str(tiny_index), *words]) == 0
        return capfdbinary.readouterr().out

    assert b"1 duplicate of 1 image among 3 images" in said()
    document = json.loads(said("--json"))
    assert document["groups"][0]["keep"]["path"].endswith("one.png")
    assert said("-0").endswith(b"line\nend.png\0")
    assert said("--paths").count(b"\n") == 2
    rows = list(csv.DictReader(io.StringIO(said("--csv").decode())))
    assert [row["kind"] for row in rows] == ["keep", "exact"]
    assert document["groups"][0]["duplicates"][0]["verified"] is True


def test_output_that_cannot_be_both_is_refused(
    tiny_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", "duplicates", "--index", str(tiny_index), "--json", "--csv"]
    assert main(command) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_names_that_are_no_utf8_are_told_byte_for_byte(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(scene(0), photos / "a.png")
    shutil.copy(photos / "a.png", os.fsencode(photos) + b"/caf\xe9.png")
    found = found_in(photos)
    assert list(spare_paths(found, b"\0")) == [os.fsencode(photos) + b"/caf\xe9.png\0"]
