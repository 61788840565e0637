"""Labels in XMP sidecar files beside the images, where photo programs read them.

Programs keep keywords in several lists, and read one of them: digiKam the first that is not empty
of digiKam:TagsList, MicrosoftPhoto:LastKeywordXMP, lr:hierarchicalSubject and dc:subject;
darktable lr:hierarchicalSubject, else dc:subject; Immich digiKam:TagsList, else
lr:hierarchicalSubject. So a label goes into dc:subject and into each of the others that is there;
if none is, lr:hierarchicalSubject is made, of all that dc:subject holds.

The property footwork:Labels names the keywords that Footwork added. They are replaced when other
labels are given; keywords that stood there before it are never taken out.

Source: ISO 16684-1 (XMP), section 7.

The sidecar of photo.jpg is photo.jpg.xmp, as digiKam and darktable name it; Immich reads it before
photo.xmp. Lightroom and others leave the ending out, so that photo.jpg and photo.raw share a
photo.xmp: one that is there is taken for photo.jpg's if nothing else is called `photo`. (Lightroom
reads sidecars of raw files only; of a JPEG it reads what stands in the file itself, which is not
touched here.)
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from footwork.class_names import class_name
from footwork.errors import DataError
from footwork.files.faults import why
from footwork.files.folders import published_file
from footwork.files.paths import path_line
from footwork.images.finding import has_image_ending

if TYPE_CHECKING:
    from zeroshot.rows import LabelledImage

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DESCRIPTION, _ITEM, _BAG = f"{RDF}Description", f"{RDF}li", f"{RDF}Bag"
_CONTAINERS = (_BAG, f"{RDF}Seq")


@dataclass(frozen=True, slots=True, eq=False)
class KeywordList:
    """The rdf:Bag or rdf:Seq of one property; where there is none, it is empty."""

    rdf: ET.Element
    """The rdf:RDF in which it stands."""
    name: str
    """Of the property, as {namespace}name."""
    sign: str = ""
    """What parts the levels of a keyword, from the general to the special."""
    instead: str = ""
    """What stands for that sign in a label, which is one level."""

    def __post_init__(self) -> None:
        for description in self.rdf.findall(_DESCRIPTION):
            properties = description.findall(self.name)
            if self.name in description.attrib or not all(map(_containers, properties)):
                raise ValueError(f"its {self.name.rpartition('}')[2]} is no list")

    @property
    def items(self) -> list[str]:
        """All keywords, each with all of its levels."""
        return [item.text or "" for bag in self._containers() for item in bag.findall(_ITEM)]

    def entry(self, label: str) -> str:
        """A label as it is written here."""
        return label.replace(self.sign, self.instead) if self.sign else label

    def holds(self, label: str) -> bool:
        """Whether a label is a keyword, or the last level of one."""
        ends = (item.rsplit(self.sign, 1)[-1] if self.sign else item for item in self.items)
        return class_name(self.entry(label)) in map(class_name, ends)

    def add(self, labels: Sequence[str]) -> None:
        """Add those that it does not hold."""
        missing = [label for label in dict.fromkeys(labels) if not self.holds(label)]
        if missing:
            containers = self._containers()
            if not containers:
                description = self.rdf.find(_DESCRIPTION)
                if description is None:
                    description = ET.SubElement(self.rdf, _DESCRIPTION, {f"{RDF}about": ""})
                containers = [ET.SubElement(ET.SubElement(description, self.name), _BAG)]
            for label in missing:
                ET.SubElement(containers[0], _ITEM).text = self.entry(label)

    def remove(self, labels: Sequence[str]) -> None:
        """Take out labels, where they are no level of a longer keyword."""
        entries = {class_name(self.entry(label)) for label in labels}
        for container in self._containers():
            for item in container.findall(_ITEM):
                if class_name(item.text or "") in entries:
                    container.remove(item)

    def drop_empty(self) -> None:
        """Take out the property if nothing is left in it."""
        for description in self.rdf.findall(_DESCRIPTION):
            for stated in description.findall(self.name):
                if not any(len(container) for container in _containers(stated)):
                    description.remove(stated)

    def _containers(self) -> list[ET.Element]:
        stated = self.rdf.findall(f"{_DESCRIPTION}/{self.name}")
        return [container for each in stated for container in _containers(each)]


def _containers(stated: ET.Element) -> list[ET.Element]:
    return [child for child in stated if child.tag in _CONTAINERS]


_DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
_LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
_FOOTWORK = "urn:footwork:xmp:1.0/"
_PREFIXES = {
    "x": "adobe:ns:meta/",
    "rdf": RDF[1:-1],
    "dc": _DUBLIN_CORE,
    "lr": _LIGHTROOM,
    "footwork": _FOOTWORK,
}
_SLASHED = (
    "{http://www.digikam.org/ns/1.0/}TagsList",
    "{http://ns.microsoft.com/photo/1.0}LastKeywordXMP",
    "{http://ns.microsoft.com/photo/1.0/}LastKeywordXMP",  # both are met
)
_EMPTY = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>"""


class XmpPacket:
    """An XMP packet whose labels can be set; a `ValueError` where it is none, or holds no lists."""

    def __init__(self, content: bytes = _EMPTY) -> None:
        builder = _Builder()
        try:
            parser = ET.XMLParser(target=builder)
            parser.feed(content)
            self._root: ET.Element = parser.close()
        except (ET.ParseError, LookupError) as error:  # LookupError: an unknown encoding
            raise ValueError(str(error)) from error
        self._prefixes = _PREFIXES | builder.prefixes
        rdf = next(self._root.iter(f"{RDF}RDF"), None)
        if rdf is None:
            raise ValueError("it holds no rdf:RDF")
        self._labels = KeywordList(rdf, f"{{{_FOOTWORK}}}Labels")
        self._subject = KeywordList(rdf, f"{{{_DUBLIN_CORE}}}subject")
        self._tree = KeywordList(rdf, f"{{{_LIGHTROOM}}}hierarchicalSubject", "|", "/")
        self._trees = (self._tree, *(KeywordList(rdf, name, "/", "|") for name in _SLASHED))

    @property
    def keywords(self) -> list[str]:
        """Those of dc:subject."""
        return self._subject.items

    def set_labels(self, labels: Sequence[str]) -> None:
        """Put labels in the place of those that were set before; the same again changes nothing."""
        former, trees = self._labels.items, [tree for tree in self._trees if tree.items]
        lists = [self._subject, *trees]
        for keywords in (self._labels, *lists):
            keywords.remove(former)
        added = [label for label in labels if not any(own.holds(label) for own in lists)]
        self._labels.add(added)
        for keywords in lists:
            keywords.add(labels)
        if labels and not trees:
            self._tree.add(self._subject.items)
        for keywords in (self._labels, *lists):
            keywords.drop_empty()

    def to_bytes(self) -> bytes:
        """The packet in UTF-8, indented, with the prefixes it came with."""
        for prefix, uri in self._prefixes.items():
            with suppress(ValueError):  # `ns0` and its like are the serializer's own
                ET.register_namespace(prefix, uri)
        ET.indent(self._root)
        return bytes(ET.tostring(self._root, encoding="UTF-8", xml_declaration=True)) + b"\n"


class _Builder(ET.TreeBuilder):
    """Builds the tree with its comments, and remembers its prefixes."""

    def __init__(self) -> None:
        super().__init__(insert_comments=True)
        self.prefixes: dict[str, str] = {}

    def start_ns(self, prefix: str, uri: str) -> None:
        """A prefix is declared; a default namespace gets one from the serializer."""
        if prefix:
            self.prefixes[prefix] = uri


_ENDING = ".xmp"


@dataclass(frozen=True, slots=True)
class SidecarOutcome:
    """What came of writing sidecars."""

    written: int
    """Images whose sidecar says what their labels are."""
    failed: tuple[str, ...]
    """What could not be written and why, one sentence each."""


def write_sidecars(labelled: Iterable[LabelledImage]) -> SidecarOutcome:
    """Write the labels of each image into its sidecar; those that cannot be written are listed.

    Where files are sorted as well, sidecars come first, and go along.
    """
    written, failed, beside = 0, [], names_beside()
    for row in labelled:
        if row.path is None or row.fault is not None:
            continue
        try:
            if not os.path.lexists(row.path):  # an index may know it longer than the disk does
                failed.append(f"{path_line(row.path)} gets no sidecar: no such file.")
                continue
            written += write_sidecar(row.path, row.labels, beside(row.path)) is not None
        except DataError as error:
            failed.append(str(error))
        except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
            failed.append(f"{path_line(row.path)} gets no sidecar: {why(error)}.")
    return SidecarOutcome(written, tuple(failed))


def write_sidecar(
    image: Path, labels: Sequence[str], beside: Iterable[str] | None = None
) -> Path | None:
    """Write labels as keywords into the sidecar of an image, which may not exist yet.

    Labels that were written before are replaced, or taken out where there are none; other keywords,
    and all else in the sidecar, stay. A sidecar that says it already is not written again. The
    image is never touched. `beside` is as for `sidecars_of`.

    Returns:
        The sidecar; None if there is none, and no label to write.

    Raises:
        DataError: The sidecar is no XMP, or cannot be read or written; it is as it was.
        ValueError: A label cannot be printed.
    """
    for label in labels:
        if not label or not label.isprintable():
            raise ValueError(f"A label must be printable text, got {label!r}.")
    standing = next(iter(sidecars_of(image, beside)), None)
    if standing is None and not labels:
        return None
    path = standing or image.with_name(f"{image.name}{_ENDING}")
    try:
        packet = XmpPacket() if standing is None else XmpPacket(path.read_bytes())
        before = packet.to_bytes()
        packet.set_labels(labels)
        if (content := packet.to_bytes()) != before:
            with published_file(path) as sibling:
                sibling.write_bytes(content)
    except OSError as error:
        raise DataError(f"Cannot write {path_line(path)}: {why(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path_line(path)} is left as it is, since it cannot be read as XMP: {error}. Mend or "
            "remove it."
        ) from error
    return path


def names_beside() -> Callable[[Path], Sequence[str]]:
    """Gives the names in an image's folder that begin like its own, up to its last dot.

    Each folder is listed once, and each name filed under its beginnings up to every dot: many may
    share the first of these, as shot.0001.png does.
    """

    def by_beginning(folder: Path) -> dict[str, list[str]]:
        names = defaultdict(list)
        with suppress(OSError), os.scandir(folder) as entries:
            for name in sorted(entry.name for entry in entries):
                for beginning in accumulate(name.split("."), "{}.{}".format):
                    names[beginning].append(name)
        return names

    names_in = cache(by_beginning)
    return lambda image: names_in(image.parent).get(image.stem, ())


def sidecars_of(image: Path, beside: Iterable[str] | None = None) -> tuple[Path, ...]:
    """The sidecars that are an image's own; the first one says what its labels are.

    `beside` are the names that `names_beside` gives, where they are known.
    """
    full, short = image.with_name(f"{image.name}{_ENDING}"), image.with_suffix(_ENDING)
    # `os.path` takes a name that is too long for one that is not there.
    own = (full,) if os.path.isfile(full) else ()  # noqa: PTH113
    if short != full and os.path.isfile(short):  # noqa: PTH113
        names = names_beside()(image) if beside is None else beside
        alike = {name for name in names if PurePath(name).stem == image.stem}
        if short.name in alike and alike <= {image.name, short.name}:
            return (*own, short)
    return own


def sidecar_beside(target: Path, image: Path, sidecar: Path | None) -> Path:
    """Where a sidecar goes when its image goes to `target`; the first of its two names for None."""
    full = sidecar is None or sidecar.name == f"{image.name}{_ENDING}"
    return target.with_name(f"{target.name}{_ENDING}") if full else target.with_suffix(_ENDING)


def companions_of(image: Path, beside: Iterable[str], own: Collection[Path]) -> tuple[Path, ...]:
    """Files that belong to an image by their names, no images and none of its `own` sidecars.

    Such are the video of a live photo, its raw file, and what programs noted of it: IMG_1.mov,
    IMG_1.cr2, IMG_1.aae and IMG_1.jpg.json of IMG_1.jpg. `beside` is as for `sidecars_of`.
    """
    companions = (
        image.with_name(name)
        for name in beside
        if not has_image_ending(name)
        and (PurePath(name).stem == image.stem or name.startswith(f"{image.name}."))
    )
    return tuple(path for path in companions if path not in own and path != image)
