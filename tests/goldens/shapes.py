"""What is kept of an answer or a file: keys, names, counts and labels; figures roughly."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

VARYING = re.compile(
    r"seconds|^minutes|bytes|flops|temperature|ece_|stretch|scale|leaning|familiar|difference$"
    r"|fingerprint|best_step|^python$|^footwork$|^torch$|^transformers$|^peft$|^accelerate$|^scikit-learn$"
    r"|^numpy$|^safetensors$|^pillow$"
)
"""Keys of what another machine, library or minute gives otherwise: only the kind is kept."""
ROUGH = re.compile(r"^(bins_|blocks|log_loss|knowledge)")
"""Keys below which everything is such, and of a list each kind of entry stands once."""
EXACT = ("config", "options")
"""Keys below which figures are what the user has set."""
FOREIGN = ("config", "adapter_config", "tokenizer", "tokenizer_config", "preprocessor_config")
"""JSON files whose keys are the ecosystem's."""
MANY = ("metrics", "tfidf")
"""Documents of many figures or terms, of which the kinds are kept."""
SAID = re.compile("note|what|why|reason|fault")
"""Keys of sentences, of which the first three words are kept."""
NEAR, LONG = 0.1, 120


def shape(value: Any, place: Path, key: str = "", *, rough: bool = False) -> Any:
    """The value without what varies."""
    rough = rough or bool(ROUGH.search(key))
    if isinstance(value, dict):
        return {scrub(k, place): shape(v, place, k, rough=rough) for k, v in value.items()}
    if isinstance(value, list):
        kinds = [shape(one, place, key, rough=rough) for one in value]
        return [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]] if rough else kinds
    if value is None or isinstance(value, bool):
        return value
    if rough or VARYING.search(key):
        return f"<{type(value).__name__}>"
    if isinstance(value, float):
        return float(f"{value:.2g}")
    if isinstance(value, str):
        return " ".join(scrub(value, place).split(" ")[: 3 if SAID.search(key) else None])
    return value


def scrub(text: str, place: Path) -> str:
    """A text without the folder, hashes and times in it."""
    text = text.replace(f"{place}/", "")
    text = re.sub(r"\b[0-9a-f]{64}\b|\bsha256:\S+", "<sha256>", text)
    return re.sub(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?\S*", "<time>", text)


def settled(found: Any, expected: Any, *, exact: bool = False) -> Any:
    """`found`, but with the figures of `expected` where they are near enough."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return {
            key: settled(value, expected.get(key), exact=exact or key in EXACT)
            for key, value in found.items()
        }
    if isinstance(found, list) and isinstance(expected, list):
        padded = [*expected, *[None] * len(found)]
        return [settled(*both, exact=exact) for both in zip(found, padded, strict=False)]
    if isinstance(found, float) and isinstance(expected, int | float) and not exact:
        return expected if abs(found - expected) <= NEAR * max(1, abs(expected)) else found
    return found


def printed(text: str, place: Path, command: str) -> Any:
    """What stands on stdout: a document, a table, options, or the first word of each line."""
    if command.endswith("--help"):
        return options(text)
    if "--json" in command and text:
        try:
            return shape(json.loads(text), place)
        except ValueError:
            return [shape(json.loads(line), place) for line in text.splitlines()]
    if text.startswith(("id,", "path,", "query,")):
        return table(text)
    words = [scrub(line, place).split()[0] for line in text.splitlines() if line.strip()]
    return [re.sub(r"[\d.,]*\d", "#", word) for word in words]


def options(text: str) -> list[str]:
    """Commands, arguments and options of a help page, with choices and defaults."""
    rows: list[str] = []
    for line in re.findall("│(.*)│", text):
        rows.append(line) if line[:4].strip() else rows.append(rows.pop() + line)
    said = [re.findall(r"\[(?:choices|default|required)[^\]]*\]", row) for row in rows]
    told = [[one for one in some if one[-6:-1] not in ("t: ()", "False")] for some in said]
    names = [re.split(" {2,}", row.strip(" *"))[0] for row in rows]
    return sorted(" ".join([name, *some]) for name, some in zip(names, told, strict=True))


def content(path: Path, place: Path) -> Any:
    """What is kept of a file; None of pictures and of what is Footwork's own."""
    match path.suffix:
        case ".json" if path.stem not in FOREIGN:
            return shape(json.loads(path.read_text("utf-8")), place, rough=path.stem in MANY)
        case ".jsonl":
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            return [f"{len(rows)} rows", *(sorted(row) for row in rows[:1])]
        case ".csv":
            return table(path.read_text("utf-8"))
        case ".parquet":
            read = pq.read_table(path)
            columns = [f"{field.name}: {field.type}" for field in read.schema]
            return [f"{read.num_rows} rows", *columns]
        case ".npy":
            array = np.load(path, allow_pickle=False)
            return f"{array.dtype} {array.shape}"
        case ".md" | ".xmp":
            return re.findall("^(?:#| *<).*", path.read_text("utf-8"), re.MULTILINE)
        case ".safetensors":
            data = path.read_bytes()
            head = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
            return sorted(
                {re.sub(r"\d+", "N", f"{name} {v.get('dtype')}") for name, v in head.items()}
            )
        case _:
            return None


def table(text: str) -> list[str]:
    """The header of a table, and how many rows it has."""
    rows = list(csv.reader(io.StringIO(text)))
    return [f"{len(rows) - 1} rows", *rows[0]] if rows else []


def dumped(value: Any, indent: str = "") -> str:
    """JSON with whatever is short on one line, so that a difference is a line or a few."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(value, dict | list) or (len(line) + len(indent) <= LONG and indent):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(k, ensure_ascii=False)}: {dumped(v, inner)}"
            for k, v in sorted(value.items())
        ]
    else:
        parts = [dumped(one, inner) for one in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{closed}"
