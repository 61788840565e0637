"""Gather English prose from the documentation that a development machine carries.

Reads docstrings, reStructuredText, Markdown, plain text, POD, HTML and manual pages below the
given roots, keeps what reads like sentences, drops what it has seen, and writes one paragraph a
line.
"""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

MIN_WORDS = 6
LARGEST_FILE = 3_000_000  # bytes; what is larger is data
FUNCTION_WORDS = frozenset(
    "the a an of to in is it that and for with as this be are on not by or if you from can "  # noqa: SIM905 - words
    "which was will at have has but when all they their we i he she his her one there so what "
    "who how do does were been would than its no more into only your may should then these "
    "some".split()
)
DOCSTRING = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)
TAG = re.compile(r"<(script|style|pre)\b.*?</\1>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
BLOCK_TAG = re.compile(r"</?(p|div|li|h\d|td|tr|dd|dt|section|br)\b[^>]*>", re.IGNORECASE)
ANY_TAG = re.compile(r"<[^>]{0,400}>")
ROFF = re.compile(r"\\f[BIRP]|\\f\(..|\\&|\\s[-+]?\d")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
MARKUP = re.compile(r":[a-z:]+:`~?([^`]*)`|``?([^`]*)``?|\[([^\]]*)\]\([^)]*\)|[BCFILE]<([^<>]*)>")
PROSE = re.compile(r"^[A-Z\"'(][A-Za-z0-9 ,;:'\"()\-!?.%/]*[.!?:)\"']$")


def text_of(path: Path) -> str:
    """The readable text of one file, paragraphs separated by blank lines."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    text = raw.decode("utf-8", errors="ignore")
    if path.suffix == ".py":
        return "\n\n".join(a or b for a, b in DOCSTRING.findall(text))
    if path.suffix in (".html", ".htm"):
        text = BLOCK_TAG.sub("\n\n", TAG.sub(" ", text))
        return html.unescape(ANY_TAG.sub("", text))
    if "/man/" in str(path):
        lines = (ROFF.sub("", line) for line in text.splitlines())
        joined = "\n".join("\n" if line.startswith((".", "'")) else line for line in lines)
        return joined.replace("\\-", "-").replace("\\(aq", "'").replace("\\", "")
    return text


def sentences_of(text: str) -> Iterator[str]:
    """Paragraphs of `text`, reduced to the sentences that read like prose."""
    for block in re.split(r"\n\s*\n", text):
        flat = " ".join(
            MARKUP.sub(lambda m: next(g for g in m.groups() if g is not None), block).split()
        )
        kept = []
        for sentence in SENTENCE_END.split(flat):
            words = sentence.split()
            if not MIN_WORDS <= len(words) <= 80 or not PROSE.match(sentence):
                continue
            plain = [w.strip(",.;:!?()\"'").lower() for w in words]
            common = sum(w in FUNCTION_WORDS for w in plain)
            letters = sum(w.isalpha() for w in plain)
            if common >= max(2, len(words) // 6) and letters >= 0.85 * len(words):
                kept.append(sentence)
        if kept:
            yield " ".join(kept)


def read_prose(path: Path) -> list[str]:
    try:
        return list(sentences_of(text_of(path)))
    except (OSError, EOFError, ValueError):
        return []


def find_documents(roots: list[Path]) -> list[Path]:
    suffixes = {".py", ".rst", ".md", ".txt", ".pod", ".html", ".htm"}
    found = []
    for root in roots:
        for path in sorted(root.rglob("*")):
            name = path.name
            wanted = path.suffix in suffixes or ("/man/" in str(path) and name.endswith(".gz"))
            if wanted and path.is_file() and not path.is_symlink():
                if "/man/" in str(path) and not re.search(r"/man/man\d/", str(path)):
                    continue  # translations
                if 500 < path.stat().st_size < LARGEST_FILE:
                    found.append(path)
    return found


def gather(roots: list[Path], out: Path, workers: int) -> int:
    """Write the corpus to `out`, one paragraph a line; returns its number of words."""
    seen: set[int] = set()
    words = 0
    with ProcessPoolExecutor(workers) as pool, out.open("w", encoding="utf-8") as lines:
        for paragraphs in pool.map(read_prose, find_documents(roots), chunksize=64):
            for paragraph in paragraphs:
                fresh = []
                for sentence in SENTENCE_END.split(paragraph):
                    key = hash(sentence.lower())
                    if key not in seen:
                        seen.add(key)
                        fresh.append(sentence)
                if fresh:
                    line = " ".join(fresh)
                    words += line.count(" ") + 1
                    lines.write(line + "\n")
    return words


if __name__ == "__main__":
    import os
    import sys

    count = gather([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]), os.cpu_count() or 1)
    print(f"{count} words", file=sys.stderr)
