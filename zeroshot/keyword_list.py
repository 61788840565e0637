"""One list of keywords in an XMP packet."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.class_names import class_name

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
        """Check its form.

        Raises:
            ValueError: The property is there, but is no list.
        """
        for description in self.rdf.findall(_DESCRIPTION):
            found = description.findall(self.name)
            if self.name in description.attrib or not all(map(_containers, found)):
                raise ValueError(f"its {self.name.rpartition('}')[2]} is no list")

    @property
    def items(self) -> list[str]:
        """All keywords, each with all of its levels."""
        return [item.text or "" for one in self._containers() for item in one.findall(_ITEM)]

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
            container = next(iter(self._containers()), None)
            container = self._made() if container is None else container
            for label in missing:
                ET.SubElement(container, _ITEM).text = self.entry(label)

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
            for found in description.findall(self.name):
                if not any(len(container) for container in _containers(found)):
                    description.remove(found)

    def _containers(self) -> list[ET.Element]:
        found = self.rdf.findall(f"{_DESCRIPTION}/{self.name}")
        return [container for one in found for container in _containers(one)]

    def _made(self) -> ET.Element:
        description = self.rdf.find(_DESCRIPTION)
        if description is None:
            description = ET.SubElement(self.rdf, _DESCRIPTION, {f"{RDF}about": ""})
        return ET.SubElement(ET.SubElement(description, self.name), _BAG)


def _containers(found: ET.Element) -> list[ET.Element]:
    return [child for child in found if child.tag in _CONTAINERS]
