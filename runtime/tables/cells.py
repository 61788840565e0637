"""Values as the cells of a delimited table.

A spreadsheet takes a cell that begins like a formula for one, and runs it, whoever named the file.
A single quote before it makes it a text.

Source: CSV injection, owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - the wide ones are run, too
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_QUOTED = re.compile(rf"'(?={_FORMULA.pattern})")


def cell(value: Any, *, raw: bool = False) -> Any:
    """What stands in a table for a value; numbers stay numbers, also those that are texts.

    Args:
        value: Lists and mappings become JSON.
        raw: Leave alone what begins like a formula.
    """
    if isinstance(value, (list, tuple, Mapping)):
        value = json.dumps(value, ensure_ascii=False)
    if raw or not isinstance(value, str) or not _FORMULA.match(value):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"


def text_of(written: str) -> str:
    """The text that `cell` was given."""
    return _QUOTED.sub("", written, count=1) if written.startswith("'") else written
