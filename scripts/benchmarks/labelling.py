"""Speed of labelling beside transformers' pipeline, and what draft mode costs in precision."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from footwork.encoder.dual import DualEncoder
from footwork.images.decoding import decode_image
from scripts.benchmarks.figure import Figure
from scripts.benchmarks.image_material import (
    MEGAPIXELS_12,
    SMALL,
    label_names,
    save_clip,
    save_photos,
)
from scripts.benchmarks.memory import PeakMemory
from scripts.benchmarks.options import Options
from zeroshot.classifier import ZeroShotClassifier, ZeroShotOptions

TEMPLATE = "a photo of a {}."
ALWAYS = ZeroShotOptions(templates=TEMPLATE, none_below=None, top_k=1)
MANY_LABELS, FEW_LABELS, VERY_MANY_LABELS = 1000, 10, 50_000
SMALL_PHOTOS, LARGE_PHOTOS = 64, 48
PEER_SMALL, PEER_LARGE = 3, 16  # the pipeline takes its time


def measure_labels(options: Options, folder: Path) -> Iterator[Figure]:
    """1,000 labels: the pipeline reads them anew for every image, Footwork once."""
    encoder = DualEncoder.load(str(save_clip(folder / "clip")))
    photos = save_photos(folder / "photos", SMALL_PHOTOS, SMALL, options.photos)
    labels = label_names(MANY_LABELS)
    os.environ["FOOTWORK_HOME"] = str(folder / "home")  # an empty cache
    one = ZeroShotClassifier(encoder, labels, ALWAYS)
    seconds, answers = _per_image(one, photos)
    of_peer = _pipeline_seconds(folder / "clip", photos[:PEER_SMALL], labels)
    yield _beside_pipeline("label_1000_vs_pipeline", seconds, answers, of_peer, ">= 20")
    yield from _eighty_templates(encoder, labels[:100], photos)


def _eighty_templates(
    encoder: DualEncoder, labels: Sequence[str], photos: Sequence[Path]
) -> Iterator[Figure]:
    options = ZeroShotOptions(templates="imagenet", none_below=None, top_k=1)
    first, many = timed(lambda: ZeroShotClassifier(encoder, labels, options))
    again, _ = timed(lambda: ZeroShotClassifier(encoder, labels, options))
    single, _ = _per_image(ZeroShotClassifier(encoder, labels, ALWAYS), photos)
    ensemble, _ = _per_image(many, photos)
    yield Figure(
        name="templates_80_per_image",
        value=1000 * ensemble,
        unit="ms",
        ratio_to_peer=ensemble / single,
        peer=f"one template: {1000 * single:.3g} ms",
        target="<= 1.1",
    )
    yield Figure(
        name="templates_80_from_cache",
        value=again,
        unit="s",
        ratio_to_peer=again / first,
        peer=f"the first time: {first:.3g} s for {len(labels)} labels",
        target="<= 0.1",
    )


def measure_many_labels(options: Options, folder: Path) -> Iterator[Figure]:
    """50,000 labels beside 1,000, on the embedded model: reading the labels is what takes time."""
    encoder = DualEncoder.load("tiny")
    photos = save_photos(folder / "photos", SMALL_PHOTOS, SMALL, options.photos)
    rows = np.tile(encoder.encode_images(photos), (4, 1))
    os.environ["FOOTWORK_HOME"] = str(folder / "home")
    cost = {}
    for count in (MANY_LABELS, VERY_MANY_LABELS):
        labels = label_names(count)
        with PeakMemory() as peak:
            seconds, _ = timed(
                lambda labels=labels: deque(
                    ZeroShotClassifier(encoder, labels).label_embeddings(rows), maxlen=0
                )
            )
        cost[count] = seconds, peak.mebibytes
    (few_seconds, few_memory), (seconds, memory) = cost.values()
    own = VERY_MANY_LABELS * encoder.width * 4 / 2**20
    yield Figure(
        name="labels_50000",
        value=seconds,
        unit="s",
        ratio_to_peer=seconds / few_seconds,
        peer=f"1,000 labels: {few_seconds:.3g} s",
        note=f"{len(rows)} images, vectors of the labels made anew",
    )
    yield Figure(
        name="labels_50000_memory",
        value=memory,
        unit="MiB",
        ratio_to_peer=memory / (few_memory + own),
        peer=f"1,000 labels, and the vectors of 50,000: {few_memory:.0f} + {own:.0f} MiB",
        target="<= 2",
    )


def measure_photos(options: Options, folder: Path) -> Iterator[Figure]:
    """Photographs of 12 megapixels, beside the pipeline and beside decoding and model alone."""
    encoder = DualEncoder.load(str(save_clip(folder / "clip")))
    photos = save_photos(folder / "photos", LARGE_PHOTOS, MEGAPIXELS_12, options.photos)
    labels = label_names(FEW_LABELS)
    os.environ["FOOTWORK_HOME"] = str(folder / "home")
    classifier = ZeroShotClassifier(encoder, labels, ALWAYS)
    seconds, answers = _per_image(classifier, photos)
    bound = processing_bound(encoder, photos)
    seconds = min(seconds, _per_image(classifier, photos)[0])
    of_peer = _pipeline_seconds(folder / "clip", photos[:PEER_LARGE], labels)
    yield _beside_pipeline("label_12_megapixels_vs_pipeline", seconds, answers, of_peer, ">= 3")
    yield Figure(
        name="label_12_megapixels_vs_bound",
        value=1 / seconds,
        unit="images/s",
        ratio_to_peer=bound / seconds,
        peer=f"decoding alone and the model alone, added: {1 / bound:.3g} images/s",
        target=">= 0.85",
    )


def measure_draft(options: Options, folder: Path) -> Iterator[Figure]:
    """Embeddings of JPEGs decoded at a fraction, beside those of all pixels."""
    encoder = DualEncoder.load(str(save_clip(folder / "clip")))
    photos = save_photos(folder / "photos", SMALL_PHOTOS, MEGAPIXELS_12, options.photos)
    quick = encoder.encode_images(photos)
    whole = np.concatenate([encoder.encode_images([decode_image(path)]) for path in photos])
    middle = whole.mean(axis=0)
    yield Figure(
        name="draft_mode_cosine",
        value=float((quick * whole).sum(axis=1).min()),
        unit="cosine",
        target=">= 0.99",
        note=f"lowest of {len(photos)}; lowest after subtracting the mean embedding "
        f"{_cosines(quick - middle, whole - middle).min():.4f}",
    )


def _per_image(
    classifier: ZeroShotClassifier, photos: Sequence[Path]
) -> tuple[float, list[str | None]]:
    list(classifier.label_files(photos[:2]))
    seconds, answers = timed(lambda: list(classifier.label_files(photos)))
    return seconds / len(photos), [answer.label for answer in answers]


def _pipeline_seconds(
    model: Path, photos: Sequence[Path], labels: Sequence[str]
) -> tuple[float, list[str]]:
    """Seconds an image, and the best label of each."""
    peer = pipeline("zero-shot-image-classification", model=str(model), use_fast=False)
    names = [str(path) for path in photos]
    ask = {"candidate_labels": list(labels), "hypothesis_template": TEMPLATE}
    peer(names[0], candidate_labels=["warm", "up"])
    seconds, answers = timed(lambda: [peer(name, **ask) for name in names])
    return seconds / len(photos), [answer[0]["label"] for answer in answers]


def _beside_pipeline(
    name: str,
    seconds: float,
    answers: Sequence[str | None],
    of_peer: tuple[float, list[str]],
    target: str,
) -> Figure:
    peer, top = of_peer
    same = np.mean([own == other for own, other in zip(answers, top, strict=False)])
    return Figure(
        name=name,
        value=1 / seconds,
        unit="images/s",
        ratio_to_peer=peer / seconds,
        peer=f"pipeline: {1 / peer:.3g} images/s; same top label for {same:.0%}",
        target=target,
    )


def processing_bound(encoder: DualEncoder, photos: Sequence[Path]) -> float:
    """Seconds an image of decoding alone and of the model alone, each on all cores, added."""
    side, cores = encoder.image_size, torch.get_num_threads()
    decoding, _ = timed(lambda: spread(lambda path: decode_image(path, side), photos, cores))
    prepared = [encoder._preprocessing.prepare(decode_image(path, side)) for path in photos]
    size = len(prepared) // cores
    batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    computing, _ = timed(lambda: spread(encoder._images.embed, batches, cores))
    torch.set_num_threads(cores)
    return (decoding + computing) / len(photos)


def spread(work: Callable[[Any], Any], items: Sequence[Any], cores: int) -> list[Any]:
    """Do the work in as many threads as there are cores, each on one."""
    with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
        return list(pool.map(work, items))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths
