"""Rows of JSON: one object a line, or one array of objects."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from footwork.errors import DataError
from footwork.tables.cells import stored_value
from footwork.tables.source import TextSource, line_fault

Rows = Iterator[tuple[int, dict[str, Any] | str]]


_SAMPLE_LINES = 1000


def looks_like_json(source: TextSource) -> bool:
    """Whether a text whose name does not tell holds JSON objects; the first may be broken."""
    lines = (line.strip() for line in source.preview() if line.strip())
    first = next(lines)
    if first.startswith("[") and not source.ending:
        return first == "[" or first.startswith('[{"')
    tried = itertools.chain([first], itertools.islice(lines, _SAMPLE_LINES))
    return first.startswith("{") and any(isinstance(_parse(line), dict) for line in tried)


def refuse_broken_json(source: TextSource) -> None:
    """Refuse to take for a text what begins as a JSON object does and is none.

    Raises:
        DataError: The first line begins with a brace.
    """
    lines = enumerate(source.preview(), start=1)
    row, first = next((row, line.strip()) for row, line in lines if line.strip())
    if first.startswith("{"):
        raise DataError(
            f"{source.name}, row {row}: it begins as a JSON object does, but {_parse(first)}. "
            "Mend the row, or state --format lines if each line is one text."
        )


def json_rows(source: TextSource) -> tuple[Rows, tuple[str, ...]]:
    """The rows of a JSON text, and what is to be noted of it.

    Returns:
        Rows, each an object or the reason why it is none. Lines are numbered as an editor
        shows them, elements of an array from 1. None where the text is empty.
    """
    first = next((line for line in source.preview() if line.strip()), "")
    if first.lstrip().startswith("["):
        return _array_rows(source), ("One JSON array: rows are numbered by its elements.",)
    return _line_rows(source), ()


def _line_rows(source: TextSource) -> Rows:
    for row, line in enumerate(source.lines(), start=1):
        if not line.strip():
            continue
        yield row, line_fault(line) or _parse(line)


def _parse(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line.strip(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        return f"it is not valid JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON: {error}"
    return _object_or_fault(value)


class _Repeating(dict[str, Any]):
    """An object that has a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _Repeating(value)


def _object_or_fault(value: Any) -> dict[str, Any] | str:
    if not isinstance(value, dict):
        kind = type(value).__name__
        return f'it must be a JSON object such as {{"text": …, "label": …}}, got a {kind}'
    if isinstance(value, _Repeating):
        return "it has a key twice"
    try:
        json.dumps(value, ensure_ascii=False).encode()
        return {name: stored_value(one) for name, one in value.items()}
    except UnicodeEncodeError:
        return "it holds half a surrogate pair, which is no character"
    except RecursionError:
        return "its lists or objects are nested too deeply"


def _array_rows(source: TextSource) -> Rows:
    text = "".join(source.lines())
    if fault := line_fault(text):
        raise DataError(f"{source.name}: {fault}.")
    try:
        values = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        # Lines that happen to begin with a bracket are told as lines.
        raise DataError(
            f"{source.name}, row {error.lineno}: it is not valid JSON: {error.msg} at column "
            f"{error.colno}. Expected one array of objects, or one object a line."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source.name} is not valid JSON: {error}") from error
    for row, value in enumerate(values, start=1):
        yield row, _object_or_fault(value)
