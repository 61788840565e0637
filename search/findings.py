"""What an examination found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from footwork.files.faults import first_lines
from footwork.files.paths import path_line, path_text

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    kind: str
    count: int
    what: str
    """A clause, and what to do."""
    paths: tuple[str, ...] = ()
    """Images or files that it is about, all of them."""
    is_fault: bool = True
    """Whether it is to be mended; else it is good to know."""

    def to_lines(self) -> Iterator[str]:
        """For people: the first paths are listed."""
        yield f"{self.kind}: {self.count:,}, {self.what}."
        yield from first_lines([path_line(path) for path in self.paths], _LISTED)

    def to_dict(self) -> dict[str, Any]:
        """For programs: all paths are listed."""
        return asdict(self) | {"paths": [path_text(path) for path in self.paths]}


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination found, and what was mended."""

    place: str
    findings: tuple[Finding, ...]
    """As they were before any repair."""
    repaired: tuple[str, ...] = ()
    """What was done, a sentence each."""
    left: tuple[Finding, ...] | None = None
    """As they are after the repair; None without one."""

    @property
    def is_well(self) -> bool:
        """Whether nothing was to be mended in the first place."""
        return not any(finding.is_fault for finding in self.findings)

    def to_text(self) -> str:
        """For people."""
        left = [line for one in self.left or () if one.is_fault for line in one.to_lines()]
        return "\n".join(
            [
                f"The index in {path_line(self.place)}",
                *(line for finding in self.findings for line in finding.to_lines()),
                *(f"repaired: {text}" for text in self.repaired),
                *(["What is left:", *left] if left else []),
                *(["All is well."] if self.is_well else []),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "index": path_text(self.place),
            "is_well": self.is_well,
            "findings": [finding.to_dict() for finding in self.findings],
            "repaired": list(self.repaired),
            "left": None if self.left is None else [one.to_dict() for one in self.left],
        }
