"""Labels as keywords in an XMP packet; everything else in it stays.

Programs keep keywords in several lists, and read one of them: digiKam the first that is not empty
of digiKam:TagsList, MicrosoftPhoto:LastKeywordXMP, lr:hierarchicalSubject and dc:subject;
darktable lr:hierarchicalSubject, else dc:subject; Immich digiKam:TagsList, else
lr:hierarchicalSubject. So a label goes into dc:subject and into each of the others that is there;
if none is, lr:hierarchicalSubject is made, of all that dc:subject holds.

The property footwork:Labels names the keywords that Footwork added. They are replaced when other
labels are given; keywords that stood there before it are never taken out.

Source: ISO 16684-1 (XMP), section 7.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress

from zeroshot.keyword_list import RDF, KeywordList

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
    """An XMP packet whose labels can be set.

    Args:
        content: XML.

    Raises:
        ValueError: It is no XMP, or its keywords are no lists.
    """

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
        former, trees = self._labels.items, [one for one in self._trees if one.items]
        lists = [self._subject, *trees]
        for one in (self._labels, *lists):
            one.remove(former)
        self._labels.add([label for label in labels if not any(one.holds(label) for one in lists)])
        for one in lists:
            one.add(labels)
        if labels and not trees:
            self._tree.add(self._subject.items)
        for one in (self._labels, *lists):
            one.drop_empty()

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
