"""Duplicates are found, grouped around the image to keep, and never deleted."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from footwork.cli import main
from footwork.errors import ConfigError
from search.duplicates.duplicates import Duplicates, find_duplicates
from search.duplicates.keepers import near_rows, principal_axes, projected
from search.duplicates.rows import duplicates_lines, write_duplicates_page
from search.filters import Filter
from search.store.protocol import Changes, Embedded, Store
from tests.search.places import index_of
from tests.search.store_contract import EmbeddedEngine, Engine, clustered, record, unit

SAME = unit(np.ones(8))


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
    """Name of what is kept → name and kind of its duplicates."""
    return {
        Path(group.kept.path).name: [
            (Path(one.record.path).name, one.kind) for one in group.duplicates
        ]
        for group in found.groups
    }


def test_copies_compressed_smaller_and_brighter_ones_are_found(photos: Path) -> None:
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
    spare = (name for ((name, _),) in groups_of(found).values())
    assert found.bytes == sum((photos / name).stat().st_size for name in spare)


def test_embeddings_that_agree_do_not_make_different_pictures_duplicates(
    tmp_path: Path, photos: Path
) -> None:
    for number in range(6):  # faint ones: all of their embeddings nearly agree
        save(scene(number).point(lambda value: 120 + value // 12), photos / f"{number}.png")
    assert found_in(photos, 0.9, look=False).groups
    with closing(index_of(tmp_path / "index", photos).open()) as store:
        assert not find_duplicates(store, 0.9).groups


def test_pictures_of_other_shapes_are_no_duplicates(tmp_path: Path) -> None:
    save(scene(0), tmp_path / "photos" / "broad.png")
    save(scene(0).resize((240, 240)), tmp_path / "photos" / "square.png")
    assert not found_in(tmp_path / "photos").groups


def test_flat_pictures_are_duplicates_only_byte_for_byte(tmp_path: Path) -> None:
    for name, grey in (("a", 200), ("b", 201), ("c", 200)):
        save(Image.new("RGB", (64, 48), (grey,) * 3), tmp_path / "photos" / f"{name}.png")
    found = found_in(tmp_path / "photos")
    assert (groups_of(found), found.unseen) == ({"a.png": [("c.png", "exact")]}, 0)


def test_images_that_cannot_be_opened_are_counted_and_left_out(
    tmp_path: Path, photos: Path
) -> None:
    save(scene(0), photos / "a.png")
    gone = save(scene(0).resize((160, 120)), photos / "b.png")
    place = index_of(tmp_path / "index", photos)
    gone.unlink()
    with closing(place.open()) as store:
        found = find_duplicates(store)
        assert (found.groups, found.unseen) == ([], 1)
        assert groups_of(find_duplicates(store, look=False)) == {"a.png": [("b.png", "similar")]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one, for images that are not on this machine."""
    with closing(EmbeddedEngine(tmp_path).make()) as made:
        yield made


@pytest.mark.parametrize(
    ("images", "why"),
    [
        ({"/p/a": {}, "/p/z": {"width": 700}}, "it has the most pixels"),
        ({"/p/a": {}, "/p/z": {"size": 2000}}, "its file is the largest"),
        ({"/p/a": {"date": 20}, "/p/z": {"date": 10}}, "it is the oldest"),
        ({"/p/a": {"date": None}, "/p/z": {"date": 10}}, "it is the oldest"),
        ({"/p/a": {}, "/p/z": {"mtime_ns": 1}}, "it is the oldest"),
        ({"/p/copy/a": {}, "/p/z": {}}, "its path is the shortest"),
        ({"/p/copy/a": {}, "/p/~": {}, "/p/z": {}}, "its path comes first"),
    ],
)
def test_the_best_is_kept_and_said_why(
    store: Store, images: dict[str, dict[str, int | None]], why: str
) -> None:
    every = [Embedded(record(path, **known), SAME) for path, known in images.items()]
    store.write(Changes(embedded=every))
    (group,) = find_duplicates(store, look=False).groups
    assert (group.kept.path, group.why) == ("/p/z", why)
    assert {(one.kind, one.verified) for one in group.duplicates} == {("exact", False)}


def test_vectors_of_images_that_are_like_no_other_are_not_fetched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.eye(8)
    records = [record(f"/{n}", content=f"{n:064d}") for n in range(8)]
    twins = [*map(unit, rows), unit(rows[0])]
    records.append(record("/twin", content=f"{8:064d}"))
    store.write(Changes(embedded=list(map(Embedded, records, twins))))
    asked: list[str] = []
    vectors = store.vectors
    monkeypatch.setattr(store, "vectors", lambda paths: asked.extend(paths) or vectors(paths))
    assert len(find_duplicates(store, look=False).groups) == 1
    assert sorted(asked) == ["/0", "/twin"]


def test_a_chain_of_likenesses_joins_nothing_that_differs(store: Store) -> None:
    angles = np.linspace(0, 1.5, 16)  # neighbours agree to a cosine of 0.995
    vectors = [unit([np.cos(angle), np.sin(angle), *[0] * 6]) for angle in angles]
    records = [record(f"/{n:02d}", content=f"{n:064d}") for n in range(16)]
    store.write(Changes(embedded=list(map(Embedded, records, vectors))))
    found = find_duplicates(store, 0.97, look=False)
    assert len(found.groups) > 1
    for group in found.groups:
        for one in group.duplicates:
            kept, other = (vectors[int(path[1:])] for path in (group.kept.path, one.record.path))
            assert float(kept @ other) >= 0.97


def test_only_present_images_that_are_asked_for_are_compared(engine: Engine) -> None:
    paths = ("/a/1", "/a/2", "/b/1", "/b/2")
    with closing(engine.make()) as store:
        assert not find_duplicates(store).groups
        store.write(Changes(embedded=[Embedded(record(path), SAME) for path in paths]))
        store.write(Changes(absent=["/b/2"]))
        assert len(find_duplicates(store, look=False).groups[0].duplicates) == 2
        (group,) = find_duplicates(store, where=Filter(folders=("/a",)), look=False).groups
        assert [one.record.path for one in group.duplicates] == ["/a/2"]
        assert not find_duplicates(store, where=Filter(folders=("/b",)), look=False).groups


def test_a_cosine_of_one_takes_the_same_bytes_alone(store: Store) -> None:
    records = [record(f"/{n}", content=content * 64) for n, content in enumerate("aab")]
    store.write(Changes(embedded=[Embedded(one, SAME) for one in records]))
    (group,) = find_duplicates(store, 1.0, look=False).groups
    assert [one.record.path for one in group.duplicates] == ["/1"]
    with pytest.raises(ConfigError, match=r"`near` must be a cosine above 0, .* got 1\.5"):
        find_duplicates(store, 1.5)


def test_an_empty_index_has_no_duplicates(store: Store) -> None:
    assert list(duplicates_lines(find_duplicates(store))) == ["No duplicates among 0 images."]


def test_names_of_one_file_are_no_copies_of_it(tmp_path: Path, photos: Path) -> None:
    save(scene(0), photos / "long name.png")
    (photos / "a.png").symlink_to("long name.png")
    os.link(photos / "long name.png", photos / "long name too.png")
    assert not found_in(photos).groups
    shutil.copy(photos / "long name.png", photos / "long name three.png")
    with closing(index_of(tmp_path / "index", photos).open()) as store:
        found = find_duplicates(store)
    assert groups_of(found) == {"long name.png": [("long name three.png", "exact")]}


@pytest.mark.parametrize("width", [8, 96, 512])
def test_projected_never_hide_a_pair(width: int) -> None:
    vectors = clustered(600, width)
    vectors[300:] = unit(vectors[:300] + 0.02 * vectors[::-1][:300])
    rows = projected(vectors, principal_axes(vectors[:100]))
    cosines, pairs = vectors @ vectors.T, set()
    for row, others, most in near_rows(rows, rows, 0.95, len(vectors)):
        assert (cosines[row, others] <= most + 1e-4).all()
        pairs |= {(row, other) for other in others.tolist()}
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(cosines >= 0.95)), strict=True)) <= pairs


def test_a_page_shows_every_group_and_needs_nothing_else(tmp_path: Path) -> None:
    photos, page = tmp_path / "photos", tmp_path / "page.html"
    for name in ("a", "<b>", "c"):
        os.utime(save(scene(len(name)), photos / f"{name}.png"), (1_000_000_000, 1_000_000_000))
    write_duplicates_page(found_in(photos), page)
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg") == 2
    assert "keep: its path comes first" in text
    assert "<b>" not in text.replace("<b>the same bytes", "").replace("<b>keep", "")


def test_the_command_tells_people_programs_and_trash_tools(
    tmp_path: Path, photos: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    save(scene(0), photos / "one.png")
    save(scene(1), photos / "two.png")
    copy = os.fsencode(photos) + b"/line\ncaf\xe9.png"
    shutil.copy(photos / "one.png", copy)
    index_of(tmp_path / "index", photos)

    def told(*words: str) -> bytes:
        assert main(["search", "duplicates", "--index", f"{tmp_path}/index", *words]) == 0
        return capfdbinary.readouterr().out

    assert b"1 duplicate of 1 image among 3 images" in told()
    (group,) = json.loads(told("--json"))["groups"]
    assert group["keep"]["path"].endswith("one.png")
    assert group["duplicates"][0]["verified"] is True
    assert (told("-0"), told("--paths")) == (copy + b"\0", copy + b"\n")
    rows = list(csv.DictReader(io.StringIO(told("--csv").decode())))
    assert [row["kind"] for row in rows] == ["keep", "exact"]
