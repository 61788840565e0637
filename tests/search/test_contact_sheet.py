"""A contact sheet shows what was found, and needs nothing but itself."""

from __future__ import annotations

import os
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from footwork.errors import DataError
from footwork.files.plain_files import content_hash
from footwork.images.decoding import decode_image
from footwork.images.thumbnails import Thumbnails
from search.answers.answer import Answer, Hit
from search.answers.contact_sheet import write_contact_sheet
from tests.pictures import difference, encoded, quarters
from tests.search.found import answer, hit

HOSTILE = "\"><script>alert('1')<&amp;.jpg"
NOT_CLOSED = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in NOT_CLOSED:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self._open[-1:]:
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " | ".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[Image.Image]:
        begin = "data:image/jpeg;base64,"
        sources = [str(image["src"]).removeprefix(begin) for image in self.all("img")]
        return [decode_image(b64decode(source, validate=True)) for source in sources]


def page_of(tmp_path: Path, *answers: Answer) -> Page:
    path = tmp_path / "sheet.html"
    write_contact_sheet(answers, path)
    return Page(path.read_text("utf-8"))


def planted(path: Path, relevance: float = 0.9, **known: object) -> Hit:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(quarters(), "JPEG"))
    return hit(path, relevance, **known)


def test_each_hit_has_its_picture_and_what_is_known_of_it(tmp_path: Path) -> None:
    known = {"width": 4000, "height": 3000, "date": 1_577_836_800, "camera": "Canon EOS"}
    labels = {"cat": 0.2, "dog": 0.7}
    page = page_of(
        tmp_path,
        answer(
            planted(tmp_path / "a.jpg", 0.98, score=0.3123, size=2_345_678, labels=labels, **known),
            planted(tmp_path / "below" / "b.jpg", 0.61),
        ),
    )
    assert page.texts[:3] == ["“a dog”", "Skip to the images", "“a dog”"]
    for text in ("a.jpg", "98 %", "4,000 × 3,000", "2.3 MB", "score 0.312", "2020-01-01 00:00"):
        assert text in page.texts
    assert {"Canon EOS", "dog", "cat", "below", "61 %", "1.2 kB"} < set(page.texts)
    assert f"in {tmp_path}" in page.texts
    assert "2 images." in page.text
    assert [image["alt"] for image in page.all("img")] == ["a.jpg, dog, cat", "b.jpg"]
    assert all(difference(picture, quarters()) < 16 for picture in page.pictures())


def test_a_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, answer(planted(tmp_path / "a.jpg")))
    assert not page.all("script")
    assert not page.all("link")
    policy = page.all("meta")[1]["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in (tmp_path / "sheet.html").read_text("utf-8")
    assert "@import" not in (tmp_path / "sheet.html").read_text("utf-8")


@pytest.mark.parametrize("place", ["name", "folder", "query", "label", "camera"])
def test_whatever_anything_is_called_it_is_but_text(tmp_path: Path, place: str) -> None:
    path = tmp_path / {"name": HOSTILE, "folder": f"{HOSTILE}/a.jpg"}.get(place, "a.jpg")
    known: dict[str, object] = {"label": {"labels": {HOSTILE: 1.0}}, "camera": {"camera": HOSTILE}}
    found = planted(path, **known.get(place, {}))  # type: ignore[arg-type]
    page = page_of(tmp_path, answer(found, query=HOSTILE if place == "query" else "a dog"))
    assert not page.all("script")
    assert HOSTILE in page.text
    assert len(page.all("li")) == 1 + (place == "label")


def test_links_lead_to_the_very_file_whatever_its_bytes(tmp_path: Path) -> None:
    page = page_of(tmp_path, answer(planted(tmp_path / os.fsdecode(b"caf\xe9 #1?.jpg"))))
    links = {link["href"] for link in page.all("a")} - {"#hits"}
    assert links == {f"file://{tmp_path}/caf%E9%20%231%3F.jpg"}
    assert "caf\\xe9 #1?.jpg" in page.texts


def test_hits_below_relevance_stand_apart_and_ranks_go_on(tmp_path: Path) -> None:
    relevances = {"a.jpg": 0.9, "b.jpg": 0.5, "c.jpg": 0.2}
    hits = [planted(tmp_path / name, relevance) for name, relevance in relevances.items()]
    page = page_of(tmp_path, answer(*hits))
    grids = [(grid["class"], grid["start"]) for grid in page.all("ol")]
    assert grids == [("hits", "1"), ("hits faded", "3")]
    assert page.texts.index("b.jpg") < page.texts.index("Less relevant") < page.texts.index("c.jpg")
    assert "2 images." in page.text


def test_that_nothing_matches_is_said_plainly(tmp_path: Path) -> None:
    page = page_of(tmp_path, answer(nothing_matches=True))
    assert "Nothing here matches “a dog”." in page.texts
    assert not page.all("ol")
    page = page_of(tmp_path, answer(planted(tmp_path / "a.jpg", 0.1), nothing_matches=True))
    told = ("Nothing here matches “a dog”.", "The nearest all the same", "a.jpg")
    places = [page.texts.index(text) for text in told]
    assert places == sorted(places)


def test_several_queries_are_sections_with_a_table_of_contents(tmp_path: Path) -> None:
    one = answer(planted(tmp_path / "a.jpg"), query="one")
    page = page_of(tmp_path, one, answer(query="two", nothing_matches=True))
    assert page.texts[0] == "2 queries"
    links = [link["href"] for link in page.all("a") if link["href"].startswith("#q")]
    assert links == ["#q1", "#q2"]
    assert [section["id"] for section in page.all("section")] == ["q1", "q2"]
    identities = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identities) == len(set(identities))
    targets = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    assert targets <= set(identities)
    assert {"1 image", "nothing matches"} < set(page.texts)


def test_an_image_that_is_gone_or_spoilt_has_a_placeholder(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"hello")
    page = page_of(tmp_path, answer(hit(tmp_path / "gone.jpg"), hit(tmp_path / "bad.jpg")))
    assert "gone.jpg: it does not exist" in page.texts
    assert "bad.jpg: it is no picture of a known kind" in page.texts
    assert not page.all("img")
    assert len(page.all("li")) == 2


def test_kept_thumbnails_are_shown_even_of_what_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "gone.jpg"
    planted(path)
    found = hit(path, content=content_hash(path))
    assert len(page_of(tmp_path, answer(found)).pictures()) == 1
    path.unlink()
    assert len(page_of(tmp_path, answer(found)).pictures()) == 1


def test_a_page_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "sheet.html"
    path.write_text("before")
    monkeypatch.setattr(Thumbnails, "of", fail)
    with pytest.raises(KeyboardInterrupt):
        write_contact_sheet([answer(hit("/a.jpg"))], path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_where_no_page_can_be_written_that_is_said(tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "sheet.html"
    told = r"Cannot write .*/no/sheet\.html: no such file or dir.* Name a file in"
    with pytest.raises(DataError, match=told):
        write_contact_sheet([answer()], nowhere)
    with pytest.raises(DataError, match=r"Cannot write .*: is a directory\."):
        write_contact_sheet([answer()], tmp_path)
    with pytest.raises(ValueError, match="at least one answer"):
        write_contact_sheet([], tmp_path / "sheet.html")
