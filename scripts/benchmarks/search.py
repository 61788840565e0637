"""The benchmarks of image search: indexing beside other tools, queries, a million of vectors."""

from __future__ import annotations

import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import count, cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel

from footwork.accelerator import compute_device, has_bf16
from footwork.arrays import FloatArray
from footwork.encoder.dual import DualEncoder
from scripts.benchmarks.image_material import (
    MEGAPIXELS_12,
    label_names,
    processing_bound,
    save_clip,
    save_photos,
)
from scripts.benchmarks.index_material import DAY, build_index, register_files
from scripts.benchmarks.suite import (
    Benchmark,
    Contest,
    Peer,
    Setting,
    footwork_command,
    process_seconds,
    seconds,
)
from search.filters import EVERYTHING, Filter
from search.index import ImageIndex
from search.options import ModelOptions
from search.place import IndexFolder
from search.query.terms import parse_query
from search.store.protocol import Store
from search.update.indexing import Indexer

BATCH, RCLIPS_BATCH = 32, 8
TOP_K = 10
HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000
WORDS = "a red bicycle"

EncodeFiles = Callable[[Sequence[Path]], object]


def measure_index(setting: Setting) -> Iterator[Contest]:
    """JPEGs of 12 megapixels, beside two peers and beside decoding and model alone."""
    model = save_clip(setting)
    photos = save_photos(setting, setting.size(24, 2), MEGAPIXELS_12)
    indexer = Indexer(IndexFolder(setting.folder / "index"), ModelOptions(model_id=str(model)))
    folders = count()

    def own() -> float:
        """The text half left out: it is written once, whatever the number."""
        indexer.place = IndexFolder(setting.folder / f"index-{next(folders)}")
        summary = indexer.index(photos)
        assert summary.added == len(photos)
        return len(photos) / summary.seconds

    def rate(encode: EncodeFiles, taken: Sequence[Path]) -> float:
        return len(taken) / seconds(lambda: encode(taken))

    bound = partial(processing_bound, DualEncoder(str(model)), photos)
    named = "ONNX Runtime float32, all pixels decoded, batches of 8, as rclip does"
    few = photos[: RCLIPS_BATCH * 2]
    onnx = partial(rate, by_onnx(model, setting.folder), few)
    peers = [
        Peer(name="decoding alone and the model alone, added", measure=bound, target=0.85),
        Peer(name=named, measure=onnx, target=1),
    ]
    for precision in ("float32", "bf16") if has_bf16(compute_device()) else ("float32",):
        encode = by_sentence_transformers(model, precision)
        if encode is None:
            print("sentence_transformers is not installed: nothing is compared.", file=sys.stderr)
        else:
            name = f"sentence-transformers, {precision}, batches of {BATCH}"
            peers.append(Peer(name=name, measure=partial(rate, encode, few), target=1))
    yield Contest(name="index_12_megapixels", unit="images/s", own=own, peers=peers)


def by_sentence_transformers(model: Path, precision: str) -> EncodeFiles | None:
    """None where it is not installed."""
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import CLIPModel
    except ImportError:
        return None
    peer = SentenceTransformer(modules=[CLIPModel(str(model))])
    if precision == "bf16":
        peer = peer.bfloat16()

    def encode(paths: Sequence[Path]) -> object:
        pictures = [Image.open(path) for path in paths]
        return peer.encode(pictures, batch_size=BATCH, show_progress_bar=False)

    return encode


def by_onnx(model: Path, folder: Path) -> EncodeFiles:
    """The way of rclip, whose own weights are not to be had without its download."""
    import onnxruntime

    encoder = DualEncoder(str(model))

    class ImageHalf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(model, dtype=torch.float32)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model.get_image_features(pixel_values=pixels).pooler_output

    side = encoder.image_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about its own exporter
        program = torch.onnx.export(
            ImageHalf().eval(),
            (torch.zeros(2, 3, side, side),),
            dynamo=True,
            verbose=False,
            input_names=["pixels"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    program.save(folder / "image.onnx", external_data=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / "image.onnx", options)

    def encode(paths: Sequence[Path]) -> object:
        rows = []
        for start in range(0, len(paths), RCLIPS_BATCH):
            opened = [Image.open(path).convert("RGB") for path in paths[start:][:RCLIPS_BATCH]]
            prepared = [encoder._preprocessing.prepare_by_processor(image) for image in opened]
            pixels = np.stack([one["pixel_values"] for one in prepared])
            rows.append(session.run(None, {"pixels": pixels})[0])
        return rows

    return encode


def measure_again(setting: Setting) -> Iterator[Contest]:
    """A second `footwork search index` over 100,000 files that have not changed."""
    unchanged = setting.size(HUNDRED_THOUSAND, 1_000)
    index = setting.folder / "index"
    register_files(index, setting.folder / "photos", unchanged)
    command = [footwork_command(), "search", "index", "--index", index]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{unchanged:,} unchanged" in done.stdout, done.stdout
    yield Contest(
        name="index_again_100000_unchanged",
        unit="s",
        own=partial(process_seconds, *command),
        limit="<= 5",
        note=lambda: "a whole process",
        warm_up=False,
    )


def measure_hundred_thousand(setting: Setting) -> Iterator[Contest]:
    """100,000 vectors: a query as a whole process, and one after the other."""
    encoder = DualEncoder(str(save_clip(setting)))
    place = build_index(setting.folder / "index", encoder, setting.size(HUNDRED_THOUSAND, 1_000))
    with closing(place.open()) as store:
        generation, texts = store.folder, place.texts_folder(store.embedder)
    script = setting.folder / "parts.py"
    script.write_text(PARTS, "utf-8")
    bare = partial(process_seconds, sys.executable, script, generation, texts / "tower")
    parts = "interpreter, ONNX session, one text, engine opened, one search"
    yield cold_query(place, "100000", "<= 0.4")
    yield Contest(
        name="query_cold_100000_parts",
        unit="s",
        own=cold_query(place, "", "").own,
        peers=(Peer(name=parts, measure=bare, target=1 / 1.3),),
    )
    with closing(place.open()) as store:
        yield warm_search(store, "100000", EVERYTHING, "<= 15")
    with ImageIndex.open(setting.folder / "index") as index:
        queries = cycle([parse_query([f"a {name}"]) for name in label_names(50)])
        yield Contest(
            name="query_warm_100000",
            unit="ms",
            own=lambda: (
                1000
                * statistics.median(
                    seconds(lambda: index.answer([next(queries)])) for _ in range(10)
                )
            ),
            note=lambda: "from words to an answer, the text half of the model included",
        )


def measure_million(setting: Setting) -> Iterator[Contest]:
    """1,000,000 vectors: with FAISS, under every filter, and the memory that is not the file."""
    encoder = DualEncoder(str(save_clip(setting)))
    images = setting.size(MILLION, 2_000)
    place = build_index(setting.folder / "index", encoder, images)
    yield cold_query(place, "1000000", "<= 0.8")
    with closing(place.open()) as store:
        yield warm_search(store, "1000000", EVERYTHING, "<= 10")
        yield Contest(
            name="recall_at_10_1000000",
            unit="of 1",
            own=lambda: recall(store, EVERYTHING, asked_of(store, 50)),
            limit=">= 0.99",
            rounds=1,
            warm_up=False,
        )
        for name, where in filters(images).items():
            yield warm_search(store, f"1000000, {name}", where, "<= 100")
    yield Contest(
        name="query_memory_1000000",
        unit="MiB",
        own=lambda: float(
            subprocess.run(
                [sys.executable, "-c", MEMORY, str(place)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        ),
        limit="<= 300",
        note=lambda: "anonymous memory after queries with and without filters, the text half too",
        rounds=1,
        warm_up=False,
    )


def filters(images: int) -> dict[str, Filter]:
    """Each kind of filter, over an index of so many images, one a minute."""
    return {
        "folder": Filter(folders=("/photos/00001",)),
        "half the dates": Filter(since=images * 30),
        "a day": Filter(since=DAY, until=2 * DAY),
        "a format": Filter(formats=("png",)),
        "a camera": Filter(cameras=("canon",)),
        "width and camera": Filter(min_width=3000, cameras=("SONY",)),
        "date and format": Filter(until=images * 6, formats=("jpeg",)),
    }


def cold_query(place: IndexFolder, size: str, limit: str) -> Contest:
    """A query in words as a whole process."""
    command = [footwork_command(), "search", "query", WORDS, "--index", place, "--json"]
    return Contest(
        name=f"query_cold_{size}",
        unit="s",
        own=partial(process_seconds, *command),
        limit=limit,
        note=lambda: "a whole process, from words to JSON",
    )


def warm_search(store: Store, name: str, where: Filter, limit: str) -> Contest:
    """Searches near images, one after the other."""
    asked = asked_of(store, 20)

    def search() -> float:
        times = [seconds(lambda q=query: store.search(q[None], TOP_K, where)) for query in asked]
        return 1000 * statistics.median(times)

    return Contest(
        name=f"search_warm_{name}",
        unit="ms",
        own=search,
        limit=limit,
        note=lambda: f"median of {len(asked)}; recall@10 {recall(store, where, asked):.3f}",
    )


def asked_of(store: Store, number: int) -> FloatArray:
    """Queries near images, but not at them."""
    near = store.sample(1000)[:number]
    noise = np.random.default_rng(1).normal(scale=0.02, size=near.shape)
    asked = near + noise.astype(np.float32)
    return asked / np.linalg.norm(asked, axis=1, keepdims=True)


def recall(store: Store, where: Filter, asked: FloatArray) -> float:
    """Share of the first ten that are found, by the exact way: block by block through all."""
    best: list[list[tuple[float, str]]] = [[] for _ in asked]
    for block in store.scan(where):
        for kept, row in zip(best, asked @ block.vectors.T, strict=True):
            top = np.argsort(-row)[:TOP_K]
            kept += [(float(row[i]), block.records[i].path) for i in top]
            kept.sort(reverse=True)
            del kept[TOP_K:]
    shares = []
    for query, kept in zip(asked, best, strict=True):
        [found] = store.search(query[None], TOP_K, where)
        truth = {path for _, path in kept}
        shares.append(len({record.path for record in found.records} & truth) / len(truth))
    return float(np.mean(shares))


MEMORY = f"""
import pathlib, sys
from search.filters import Filter
from search.index import ImageIndex
index = ImageIndex.open(sys.argv[1])
for where in (Filter(), Filter(formats=("png",)), Filter(since={MILLION * 30})):
    index.query({WORDS!r}, where=where)
status = pathlib.Path("/proc/self/status").read_text()
print(int(dict(line.split(":") for line in status.splitlines())["RssAnon"].split()[0]) / 1024)
"""

PARTS = """
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
"""A script of a few lines that does nothing more than a query must."""

BENCHMARKS: dict[str, Benchmark] = {
    "index": measure_index,
    "again": measure_again,
    "hundred-thousand": measure_hundred_thousand,
    "million": measure_million,
}
