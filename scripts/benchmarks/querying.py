"""Speed and memory of queries: whole processes, warm ones, under filters, among a million."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from footwork.encoder.dual import DualEncoder
from scripts.benchmarks.figure import Figure
from scripts.benchmarks.image_material import label_names, save_clip
from scripts.benchmarks.index_material import DAY, build_index
from scripts.benchmarks.options import Options
from scripts.benchmarks.startup import median_seconds
from search.filters import EVERYTHING, Filter
from search.index import ImageIndex
from search.place.folder import IndexFolder
from search.query.terms import parse_query
from search.store.protocol import FloatArray, Store

QUERIES = 50
TOP_K = 10
HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000
WORDS = "a red bicycle"
MEGABYTE = 2**20

FILTERS = {
    "none": EVERYTHING,
    "folder": Filter(folders=("/photos/00007",)),
    "half the dates": Filter(since=MILLION * 30),
    "a day": Filter(since=DAY, until=2 * DAY),
    "a format": Filter(formats=("png",)),
    "a camera": Filter(cameras=("canon",)),
    "width and camera": Filter(min_width=3000, cameras=("SONY",)),
    "date and format": Filter(until=MILLION * 6, formats=("jpeg",)),
}


def measure_hundred_thousand(options: Options, folder: Path) -> Iterator[Figure]:
    """100,000 vectors: a query as a whole process, and one after the other."""
    del options
    place = build_index(folder / "index", _encoder(folder), HUNDRED_THOUSAND)
    yield from _cold(place, "100000", "<= 0.4")
    yield _beside_parts(place, folder)
    with closing(place.open()) as store:
        seconds, recall = _search(store, EVERYTHING, _asked(store, QUERIES))
    yield _warm("search_warm_100000", seconds, recall, "<= 15")
    with ImageIndex.open(folder / "index") as index:
        queries = [parse_query([f"a {name}"]) for name in label_names(QUERIES)]
        index.answer(queries[:1])
        whole = [_timed(lambda query=query: index.answer([query])) for query in queries]
    yield Figure(
        name="query_warm_100000",
        value=1000 * statistics.median(whole),
        unit="ms",
        note="from words to an answer, the text half of ViT-B/32 included",
    )


def measure_million(options: Options, folder: Path) -> Iterator[Figure]:
    """1,000,000 vectors: with FAISS, under every filter, and the memory that is not the file."""
    del options
    place = build_index(folder / "index", _encoder(folder), MILLION)
    yield from _cold(place, "1000000", "<= 0.8")
    with closing(place.open()) as store:
        asked = _asked(store, QUERIES)
        seconds, recall = _search(store, EVERYTHING, asked)
        yield _warm("search_warm_1000000", seconds, recall, "<= 10")
        yield Figure(name="recall_at_10_1000000", value=recall, unit="", target=">= 0.99")
        for name, where in FILTERS.items():
            if not where.is_empty:
                seconds, recall = _search(store, where, asked[:20])
                yield _warm(f"search_warm_1000000, {name}", seconds, recall, "<= 100")
    yield _memory(place)


def _encoder(folder: Path) -> DualEncoder:
    return DualEncoder.load(str(save_clip(folder / "clip")))


def _cold(place: IndexFolder, size: str, target: str) -> Iterator[Figure]:
    yield Figure(
        name=f"query_cold_{size}",
        value=median_seconds(_command(place)),
        unit="s",
        target=target,
        note="a whole process, from words to JSON",
    )


def _command(place: IndexFolder) -> list[str]:
    footwork = str(Path(sys.executable).with_name("footwork"))
    return [footwork, "search", "query", WORDS, "--index", str(place), "--json"]


def _beside_parts(place: IndexFolder, folder: Path) -> Figure:
    """The same as a script of a few lines that does nothing more than it must."""
    with closing(place.open()) as store:
        generation, texts = store.folder, place.texts_folder(store.embedder)
    script = folder / "parts.py"
    script.write_text(_PARTS, "utf-8")
    parts = [sys.executable, str(script), str(generation), str(texts / "tower")]
    own, bare = _alternately(_command(place), parts)
    return Figure(
        name="query_cold_100000_vs_parts",
        value=own,
        unit="s",
        ratio_to_peer=own / bare,
        peer=f"interpreter, ONNX session, one text, engine opened, one search: {bare:.3f} s",
        target="<= 1.3",
    )


_PARTS = """
import sqlite3
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

index, tower = sys.argv[1:]
tokenizer = Tokenizer.from_file(f"{tower}/tokenizer.json")
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.disable_prepacking", "1")
session = onnxruntime.InferenceSession(f"{tower}/text.onnx", options)
encoded = tokenizer.encode("a red bicycle")
columns = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask}
inputs = {one.name: np.array([columns[one.name]]) for one in session.get_inputs()}
query = session.run(None, inputs)[0][0]
query /= np.linalg.norm(query)
catalog = sqlite3.connect(f"file:{index}/catalog.sqlite?mode=ro", uri=True)
count = int(catalog.execute("SELECT value FROM facts WHERE name = 'slots'").fetchone()[0])
vectors = np.memmap(f"{index}/vectors.f32", "<f4", "r", shape=(count, len(query)))
cosines = vectors @ query
best = np.argpartition(cosines, -10)[-10:]
best = best[np.argsort(-cosines[best])]
for slot in best.tolist():
    print(catalog.execute("SELECT path FROM files WHERE slot = ?", (slot,)).fetchone()[0])
"""


def _alternately(one: list[str], other: list[str], repeats: int = 11) -> tuple[float, float]:
    """Medians of whole processes, taken in turn: both have the same noise."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):  # the first of each fills the file cache
        for command, taken in zip((one, other), times, strict=True):
            taken.append(_timed(lambda command=command: _run(command)))
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def _run(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _asked(store: Store, count: int) -> FloatArray:
    """Queries near images, but not at them."""
    random = np.random.default_rng(1)
    near = store.sample(1000)[:count]
    asked = near + random.normal(scale=0.02, size=near.shape).astype(np.float32)
    return asked / np.linalg.norm(asked, axis=1, keepdims=True)


def _search(store: Store, where: Filter, asked: FloatArray) -> tuple[list[float], float]:
    """Seconds of each search, and recall among the first ten against all cosines."""
    truth = _truth(store, where, asked)
    store.search(asked[:1], TOP_K, where)
    seconds, recalls = [], []
    for query, best in zip(asked, truth, strict=True):
        start = time.perf_counter()
        [found] = store.search(query[None], TOP_K, where)
        seconds.append(time.perf_counter() - start)
        paths = {record.path for record in found.records}
        recalls.append(len(paths & best) / len(best))
    return seconds, float(np.mean(recalls))


def _truth(store: Store, where: Filter, asked: FloatArray) -> list[set[str]]:
    """The exact first ten, found the long way: block by block through all that passes."""
    best: list[list[tuple[float, str]]] = [[] for _ in asked]
    for block in store.scan(where):
        cosines = asked @ block.vectors.T
        for kept, row in zip(best, cosines, strict=True):
            top = np.argsort(-row)[:TOP_K]
            kept += [(float(row[i]), block.records[i].path) for i in top]
            kept.sort(reverse=True)
            del kept[TOP_K:]
    return [{path for _, path in kept} for kept in best]


def _warm(name: str, seconds: Sequence[float], recall: float, target: str) -> Figure:
    return Figure(
        name=name,
        value=1000 * statistics.median(seconds),
        unit="ms",
        target=target,
        note=f"median of {len(seconds)}; recall@10 {recall:.3f}",
    )


def _memory(place: IndexFolder) -> Figure:
    """Of a process that has answered queries, without the pages of mapped files."""
    script = (
        "import json, sys, pathlib\n"
        "from search.index import ImageIndex\n"
        "from search.filters import Filter\n"
        "index = ImageIndex.open(sys.argv[1])\n"
        f"for where in (Filter(), Filter(formats=('png',)), Filter(since={MILLION * 30})):\n"
        f"    index.query({WORDS!r}, where=where)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "sizes = dict(line.split(':') for line in status.splitlines())\n"
        "print(json.dumps(int(sizes['RssAnon'].split()[0])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(place)], capture_output=True, text=True, check=True
    )
    return Figure(
        name="query_memory_1000000",
        value=json.loads(done.stdout) * 1024 / MEGABYTE,
        unit="MiB",
        target="<= 300",
        note="anonymous memory after queries with and without filters, the text half among it",
    )


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
