"""Values and cells: what JSON and Parquet store, and what stands in a delimited table.

A spreadsheet takes a cell that begins like a formula for one, and runs it, whoever named the file.
A single quote before it makes it a text. A file that is opened with another separator than its own
falls into other cells, which may begin like formulas: no quote before the whole helps there.

Source: CSV injection, owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TextIO

from footwork.tables.columns import is_number

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - the wide ones are run, too
_QUOTED = re.compile(rf"'(?={_FORMULA.pattern})")

_CALL = re.compile(r"(?:array|set|frozenset)\((.*?)(?:,\s*dtype=[^()\[\]]*)?\)", re.DOTALL)
_VECTOR = re.compile(r"c\((.*)\)", re.DOTALL)
_BRACKETS = ("[]", "{}", "()")
_ITEM = re.compile(
    r"""(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:\s*,\s*|\s+|$)"""
    r"""|(?P<bare>[^\s,'"\[\](){}:]+)(?:\s*,\s*|\s+|$)""",
    re.DOTALL,
)
_OPENINGS = ("'", '"', "[", "{", "('", '("')
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_WHITE = {"n": "\n", "r": "\r", "t": "\t"}
_ABSENT = frozenset(("None", "NULL", "null", "nan", "NaN", "NA"))
_VALUES = _ABSENT | {"True", "False", "TRUE", "FALSE", "true", "false"}


def cell(value: Any, *, raw: bool = False) -> Any:
    """What stands in a table for a value; lists and mappings become JSON, numbers stay numbers.

    `raw` leaves alone what begins like a formula.
    """
    if isinstance(value, (list, tuple, Mapping)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if raw or not isinstance(value, str) or not _FORMULA.match(value):
        return value
    return value if is_number(value) else f"'{value}"


def stored_value(value: Any) -> Any:
    """What a cell of JSON, Parquet or Arrow says: NaN is a missing value, bytes are their text.

    Bytes that are no UTF-8 stay bytes.
    """
    if isinstance(value, bytes):
        # Strings of old writers, and of engines that annotate none, are columns of bytes.
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [stored_value(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def text_of(written: str) -> str:
    """The text that `cell` was given."""
    return _QUOTED.sub("", written, count=1) if written.startswith("'") else written


def csv_writer(file: TextIO, delimiter: str = ",") -> Any:
    r"""A `csv.writer` whose rows every reader reads back, on every Python.

    Before 3.13 Python quotes only what ends its own lines: told `\n`, it leaves a bare `\r`, which
    readers take for the end of a row.
    """
    lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
    return csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")


def list_of(written: str) -> list[Any] | None:
    """The items of a list as JSON, Python, numpy, R, Spark or Postgres write it.

    `["a", "b"]`, `['a' 'b']`, `{'a', 'b'}`, `c("a", "b")`, `[a, b]`, `{a,b}`, `[1. 0.]` become
    strings and numbers, None where an item is missing, lists and mappings where JSON has them.
    Gives None where the cell is evidently no list, as `[spam]` and `(a, b)` are not. A ValueError
    is raised where it is a list or an object, but cannot be read, such as one cut short by `...`.
    """
    written = written.strip()
    called = _CALL.fullmatch(written)
    inner = called[1].strip() if called else written
    if called and not inner:
        return []
    brackets = inner[:1] + inner[-1:]
    content = inner[1:-1].strip()
    if vector := _VECTOR.fullmatch(written):
        brackets, content = "[]", vector[1].strip()
    if brackets not in _BRACKETS:
        return None
    if content and not vector and brackets != "()":
        with suppress(ValueError, RecursionError):
            found = json.loads(inner)
            return found if isinstance(found, list) else [found]
    return _items(content, brackets)


def _items(content: str, brackets: str) -> list[Any] | None:
    found, at = [], 0
    while at < len(content) and (item := _ITEM.match(content, at)):
        found.append(item)
        at = item.end()
    whole = at == len(content)
    bares = [one["bare"] for one in found if one["bare"]]
    words = [bare for bare in bares if not is_number(bare) and bare not in _VALUES]
    if content.startswith(_OPENINGS) or "..." in words:
        if not whole or "..." in words or (words and brackets != "{}"):
            raise ValueError(content)
        return [_item(one) for one in found]
    if whole and (not words or (brackets == "{}" and "," in content)):
        return [_item(one) for one in found] if brackets == "[]" or len(found) != 1 else None
    if "," not in content or brackets == "()":
        return None
    parts = (part.strip() for part in content.split(","))
    return [None if part in ("null", "NULL") else part for part in parts if part]


def _item(found: re.Match[str]) -> Any:
    if (bare := found["bare"]) is not None:
        # numpy writes the float 1 as `1.`
        return None if bare in _ABSENT else float(bare) if re.search(r"\d\.", bare) else bare
    return _ESCAPE.sub(
        lambda one: (
            chr(int(one[1] or one[2], 16)) if one[3] is None else _WHITE.get(one[3], one[3])
        ),
        found["quoted"][1:-1],
    )
