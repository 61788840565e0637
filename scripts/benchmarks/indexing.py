"""Speed of indexing beside other tools, and of indexing again what has not changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from footwork.encoder.dual import DualEncoder
from scripts.benchmarks.figure import Figure
from scripts.benchmarks.image_material import MEGAPIXELS_12, save_clip, save_photos
from scripts.benchmarks.index_material import register_files
from scripts.benchmarks.labelling import processing_bound, timed
from scripts.benchmarks.options import Options
from search.options import ModelOptions
from search.place.folder import IndexFolder
from search.update.indexing import Indexer

PHOTOS, PEER_PHOTOS = 64, 16
BATCH, RCLIPS_BATCH = 32, 8
UNCHANGED = 100_000
TARGET = ">= 3"

EncodeFiles = Callable[[Sequence[Path]], object]


def measure_index(options: Options, folder: Path) -> Iterator[Figure]:
    """JPEGs of 12 megapixels, beside two peers and beside decoding and model alone."""
    model = save_clip(folder / "clip")
    photos = save_photos(folder / "photos", PHOTOS, MEGAPIXELS_12, options.photos)
    indexer = Indexer(IndexFolder(folder / "warm"), ModelOptions(model_id=str(model)))
    indexer.index(photos[:2])
    bound = processing_bound(DualEncoder.load(str(model)), photos)
    seconds = min(_index(indexer, folder / f"index-{turn}", photos) for turn in range(2))
    yield _figure("bound", seconds, bound, ">= 0.85", "decoding alone and the model alone, added")
    for name, load in (("sentence_transformers", _sentence_transformers), ("onnx", _onnx)):
        encode = load(model)
        if encode is None:
            print(f"{name} is not installed, so nothing is compared with it.", file=sys.stderr)
            continue
        encode(photos[:2])
        peer, _ = timed(lambda encode=encode: encode(photos[:PEER_PHOTOS]))
        yield _figure(name, seconds, peer / PEER_PHOTOS, TARGET, name)


def measure_again(options: Options, folder: Path) -> Iterator[Figure]:
    """A second `footwork search index` over 100,000 files that have not changed."""
    del options
    register_files(folder / "index", folder / "photos", UNCHANGED)
    footwork = str(Path(sys.executable).with_name("footwork"))
    command = [footwork, "search", "index", "--index", str(folder / "index")]
    seconds, done = timed(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True)
    )
    assert f"{UNCHANGED:,} unchanged" in done.stdout, done.stdout
    yield Figure(
        name="index_again_100000_unchanged",
        value=seconds,
        unit="s",
        target="<= 5",
        note="a whole process",
    )


def _index(indexer: Indexer, place: Path, photos: Sequence[Path]) -> float:
    """Seconds an image, the text half left out: it is written once, whatever the number."""
    indexer.place = IndexFolder(place)
    summary = indexer.index(photos)
    assert summary.added == len(photos)
    return summary.seconds / len(photos)


def _figure(name: str, seconds: float, peer: float, target: str, what: str) -> Figure:
    return Figure(
        name=f"index_12_megapixels_vs_{name}",
        value=1 / seconds,
        unit="images/s",
        ratio_to_peer=peer / seconds,
        peer=f"{what}: {1 / peer:.3g} images/s",
        target=target,
    )


def _sentence_transformers(model: Path) -> EncodeFiles | None:
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import CLIPModel
    except ImportError:
        return None
    peer = SentenceTransformer(modules=[CLIPModel(str(model))])

    def encode(paths: Sequence[Path]) -> object:
        pictures = [Image.open(path) for path in paths]
        return peer.encode(pictures, batch_size=BATCH, show_progress_bar=False)

    return encode


def _onnx(model: Path) -> EncodeFiles | None:
    """The way of rclip: every pixel decoded, batches of 8, ONNX Runtime in float32.

    rclip itself brings its own weights, which are not to be had without its download.
    """
    import onnxruntime

    encoder = DualEncoder.load(str(model))
    session = onnxruntime.InferenceSession(_exported(encoder, model / "image.onnx"))

    def encode(paths: Sequence[Path]) -> object:
        rows = []
        for start in range(0, len(paths), RCLIPS_BATCH):
            pictures = [Image.open(path).convert("RGB") for path in paths[start:][:RCLIPS_BATCH]]
            prepared = [encoder._preprocessing.prepare_by_processor(one) for one in pictures]
            pixels = np.stack([one["pixel_values"] for one in prepared])
            rows.append(session.run(None, {"pixels": pixels})[0])
        return rows

    return encode


def _exported(encoder: DualEncoder, path: Path) -> str:
    class ImageHalf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder._towers.model.float()

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model.get_image_features(pixel_values=pixels).pooler_output

    side = encoder.image_size
    program = torch.onnx.export(
        ImageHalf().eval(),
        (torch.zeros(2, 3, side, side),),
        dynamo=True,
        verbose=False,
        input_names=["pixels"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )
    program.save(path, external_data=True)
    return str(path)
