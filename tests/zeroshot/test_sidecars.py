"""Labels are added to sidecars; nothing else of them is lost, and no image is touched."""

from __future__ import annotations

import errno
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import pytest

from footwork.errors import DataError
from zeroshot.sorting.sidecars import (
    XmpPacket,
    names_beside,
    sidecars_of,
    write_sidecar,
    write_sidecars,
)

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMES = {
    "dc:subject": "{http://purl.org/dc/elements/1.1/}subject",
    "lr": "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject",
    "digiKam": "{http://www.digikam.org/ns/1.0/}TagsList",
    "Labels": "{urn:footwork:xmp:1.0/}Labels",
}
# As Lightroom, darktable and exiftool write: attributes and elements, several descriptions, a
# wrapper, a comment, a line end within an attribute.
RICH = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<!-- by hand -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 5.6.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/" xmp:Rating="4"
    darktable:history="one&#10;two &amp; three">
   <darktable:masks>&lt;mask/&gt;</darktable:masks>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lightroom="http://ns.adobe.com/lightroom/1.0/">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default"> Ü </rdf:li></rdf:Alt></dc:title>
   <dc:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>dog</rdf:li></rdf:Bag></dc:subject>
   <lightroom:hierarchicalSubject><rdf:Bag><rdf:li>animal|dog</rdf:li><rdf:li>holiday</rdf:li>
   </rdf:Bag></lightroom:hierarchicalSubject>
   <!-- kept -->
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""


class Labelled(NamedTuple):
    path: Path | None
    labels: tuple[str, ...]
    fault: str | None = None


def image(folder: Path, sidecar: str | None = None, name: str = "photo.jpg") -> Path:
    path = folder / name
    path.write_bytes(b"no picture is looked at")
    if sidecar is not None:
        (folder / f"{name}.xmp").write_text(sidecar, "utf-8")
    return path


def listed(path: Path, name: str) -> list[str | None]:
    lists = ET.parse(path).iter(NAMES[name])
    return [item.text for found in lists for item in found.iter(f"{{{RDF}}}li")]


def facts(content: bytes | str) -> set[tuple[str, ...]]:
    """All that a packet says: names, attributes and texts, with where they stand."""
    found: set[tuple[str, ...]] = set()

    def gather(element: ET.Element, place: str) -> None:
        place = f"{place}/{element.tag}"
        found.update((place, name, value) for name, value in element.attrib.items())
        if element.text and (element.text.strip() or not len(element)):
            found.add((place, element.text))
        for child in element:
            gather(child, place)

    gather(ET.fromstring(content), "")
    return found


def test_a_new_sidecar_says_the_labels_where_programs_read_them(tmp_path: Path) -> None:
    path = write_sidecar(image(tmp_path), ["cat", "red & <white>"])
    assert path == tmp_path / "photo.jpg.xmp"
    for name in ("dc:subject", "lr", "Labels"):
        assert listed(path, name) == ["cat", "red & <white>"]
    text = path.read_text("utf-8")
    for prefix in ("x:xmpmeta", "rdf:RDF", "dc:subject", "lr:hierarchicalSubject"):
        assert f"<{prefix}" in text
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"photo.jpg", "photo.jpg.xmp"}
    assert (tmp_path / "photo.jpg").read_bytes() == b"no picture is looked at"


def test_all_that_a_sidecar_says_is_kept(tmp_path: Path) -> None:
    path = write_sidecar(image(tmp_path, RICH), ["cat"])
    assert facts(path.read_bytes()) > facts(RICH)
    assert listed(path, "dc:subject") == ["holiday", "dog", "cat"]
    assert listed(path, "lr") == ["animal|dog", "holiday", "cat"]
    text = path.read_text("utf-8")
    for said in ("<lightroom:hierarchicalSubject>", "darktable:history=", "<!-- kept -->"):
        assert said in text
    assert "ns0" not in text


def test_labels_replace_those_of_an_earlier_run_and_no_others(tmp_path: Path) -> None:
    photo = image(tmp_path, RICH)
    for labels in (["cat", "dog"], ["bird"], ["dog"], ["cat"]):
        path = write_sidecar(photo, labels)
        added = [label for label in labels if label != "dog"]
        assert listed(path, "dc:subject") == ["holiday", "dog", *added]
        assert listed(path, "lr") == ["animal|dog", "holiday", *added]
        assert listed(path, "Labels") == added
    write_sidecar(photo, [])
    assert facts(path.read_bytes()) == facts(RICH)


def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    photo = image(tmp_path, RICH)
    path = write_sidecar(photo, ["cat", "dog"])
    os.utime(path, (1e9, 1e9))
    write_sidecar(photo, ["cat", "dog"])
    assert path.stat().st_mtime == 1e9


def test_keywords_that_have_no_tree_yet_are_not_hidden_by_the_new_one(tmp_path: Path) -> None:
    # Programs that find a tree do not look at dc:subject.
    flat = RICH.replace("lightroom:hierarchicalSubject", "lightroom:other")
    path = write_sidecar(image(tmp_path, flat), ["cat"])
    assert listed(path, "dc:subject") == listed(path, "lr") == ["holiday", "dog", "cat"]


def test_a_tree_of_digikam_gets_the_labels_as_one_level_each(tmp_path: Path) -> None:
    packet = XmpPacket()
    packet.set_labels(["old"])
    tags = packet.to_bytes().replace(b"lr:hierarchicalSubject", b"digiKam:TagsList")
    tags = tags.replace(b"rdf:Bag", b"rdf:Seq")  # digiKam reads no other
    tags = tags.replace(b"http://ns.adobe.com/lightroom/1.0/", b"http://www.digikam.org/ns/1.0/")
    tags = tags.replace(b"xmlns:lr=", b"xmlns:digiKam=")
    path = write_sidecar(image(tmp_path, tags.decode()), ["a/b", "c|d"])
    assert listed(path, "digiKam") == ["a|b", "c|d"]
    assert listed(path, "lr") == []
    assert path.read_text().count("rdf:Bag") == 0
    assert listed(path, "dc:subject") == ["a/b", "c|d"]
    write_sidecar(tmp_path / "photo.jpg", ["c|d"])
    assert listed(path, "digiKam") == listed(path, "dc:subject") == ["c|d"]


def test_a_keyword_with_parted_accents_is_the_label_itself(tmp_path: Path) -> None:
    path = image(tmp_path, RICH.replace("dog", "chien me\u0301chant"))
    write_sidecar(path, ["chien m\u00e9chant"])
    packet = XmpPacket((tmp_path / "photo.jpg.xmp").read_bytes())
    assert packet.keywords == ["holiday", "chien me\u0301chant"]
    write_sidecar(path, [])
    assert XmpPacket((tmp_path / "photo.jpg.xmp").read_bytes()).keywords == packet.keywords


def test_an_image_without_label_gets_no_sidecar(tmp_path: Path) -> None:
    assert write_sidecar(image(tmp_path), []) is None
    assert not (tmp_path / "photo.jpg.xmp").exists()


def test_a_sidecar_without_the_images_ending_is_used_if_it_is_nobody_elses(tmp_path: Path) -> None:
    photo, short = image(tmp_path), tmp_path / "photo.xmp"
    short.write_text(RICH, "utf-8")
    assert sidecars_of(photo) == (write_sidecar(photo, ["cat"]),) == (short,)
    (tmp_path / "photo.nef").write_bytes(b"raw")
    assert sidecars_of(photo) == ()
    before = short.read_bytes()
    assert write_sidecar(photo, ["cat"]) == tmp_path / "photo.jpg.xmp"
    assert short.read_bytes() == before


def test_beside_an_image_stand_the_names_that_share_all_of_its_own(tmp_path: Path) -> None:
    own = ["shot.001", "shot.001.jpg", "shot.001.jpg.json", "shot.001.xmp"]
    for name in (*own, "shot.xmp", "shot.002.jpg", "shot.0010.jpg", "shot-001.jpg"):
        (tmp_path / name).touch()
    assert names_beside()(tmp_path / "shot.001.jpg") == own


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no element found"),
        (RICH[:-200], "no element found|mismatched|not well-formed|unclosed"),
        ("<x:xmpmeta/>", "unbound prefix"),
        ("<html/>", "it holds no rdf:RDF"),
        (RICH.replace("rdf:Bag", "rdf:Alt"), "its subject is no list"),
        (RICH.replace('xmp:Rating="4"', 'xmlns:d="http://purl.org/dc/elements/1.1/" d:subject="a"'),
         "its subject is no list"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "encoding"),
        ("<a>" * 5000 + f'<r:RDF xmlns:r="{RDF}"/>' + "</a>" * 5000, "recursion"),
    ],
)  # fmt: skip
def test_what_is_no_xmp_is_told_and_left_alone(tmp_path: Path, content: str, reason: str) -> None:
    photo = image(tmp_path, content)
    with pytest.raises(DataError, match=rf"photo\.jpg\.xmp is left as it is.*({reason}).*Mend or"):
        write_sidecar(photo, ["cat"])
    assert (tmp_path / "photo.jpg.xmp").read_text("utf-8") == content


def test_utf16_and_prefixes_of_the_serializer_are_read(tmp_path: Path) -> None:
    photo = image(tmp_path)
    odd = RICH.replace("xmp:", "ns0:").replace("xmlns:xmp", "xmlns:ns0").replace("lightroom", "ns1")
    (tmp_path / "photo.jpg.xmp").write_bytes(odd.encode("utf-16"))
    path = write_sidecar(photo, ["cat"])
    assert facts(path.read_bytes()) > facts(odd)


def test_a_disk_that_fails_spoils_no_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    photos = [image(tmp_path, RICH), image(tmp_path, name="other.jpg")]
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    outcome = write_sidecars([Labelled(photo, ("cat",)) for photo in photos])
    assert outcome.written == 0
    reasons = [said.partition("xmp: ")[2] for said in outcome.failed]
    assert reasons == ["no space left on device."] * 2
    assert (tmp_path / "photo.jpg.xmp").read_text("utf-8") == RICH
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_goes_on_past_what_cannot_be_written(tmp_path: Path) -> None:
    rows = [
        Labelled(image(tmp_path, "no XML", "1.jpg"), ("cat",)),
        Labelled(image(tmp_path, None, "2.jpg"), (), "it is truncated"),
        Labelled(image(tmp_path, None, "3.jpg"), ()),
        Labelled(image(tmp_path, None, "4.jpg"), ("dog", "red")),
        Labelled(None, ("cat",)),
        Labelled(tmp_path / "no folder" / "5.jpg", ("cat",)),
    ]
    outcome = write_sidecars(rows)
    assert outcome.written == 1
    first, second = outcome.failed
    assert "1.jpg.xmp is left" in first
    assert "no such file" in second
    assert listed(tmp_path / "4.jpg.xmp", "dc:subject") == ["dog", "red"]


def test_permissions_and_links_of_a_sidecar_stay(tmp_path: Path) -> None:
    photo = image(tmp_path)
    (tmp_path / "elsewhere").write_text(RICH, "utf-8")
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "photo.jpg.xmp").symlink_to("elsewhere")
    path = write_sidecar(photo, ["cat"])
    assert path.is_symlink()
    assert "cat" in listed(tmp_path / "elsewhere", "dc:subject")
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("label", ["", "a\x00b", "a\nb", "\ud800", "\ufffe"])
def test_labels_that_xml_cannot_hold_are_the_callers_mistake(tmp_path: Path, label: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        write_sidecar(image(tmp_path), [label])
