"""The benchmarks of image labelling."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, pipeline

from footwork.accelerator import compute_device, has_bf16
from footwork.encoder.dual import DualEncoder
from footwork.images.decoding import decode_image
from scripts.benchmarks.image_material import (
    MEGAPIXELS_12,
    SMALL,
    label_names,
    processing_bound,
    save_clip,
    save_photos,
    spread,
)
from scripts.benchmarks.suite import Benchmark, Contest, Peer, Setting, seconds
from scripts.benchmarks.training import watched
from zeroshot import ZeroShotClassifier, ZeroShotOptions

TEMPLATE = "a photo of a {}."
ALWAYS = ZeroShotOptions(templates=TEMPLATE, none_below=None, top_k=1)
EIGHTY = ZeroShotOptions(templates="imagenet", none_below=None, top_k=1)
BATCH = 32
_DTYPE = torch.bfloat16 if has_bf16(compute_device()) else torch.float32
_PRECISION = "bf16" if _DTYPE is torch.bfloat16 else "float32"

Label = Callable[[Sequence[Path]], list[str | None]]


def by_pipeline(model: Path, labels: Sequence[str], **options: Any) -> Label:
    """The pipeline of transformers: it reads all labels anew for each image, or for each batch."""
    dtype = options.pop("dtype", torch.float32)
    peer = pipeline("zero-shot-image-classification", str(model), use_fast=False, dtype=dtype)
    ask = {"candidate_labels": list(labels), "hypothesis_template": TEMPLATE, **options}

    def label(photos: Sequence[Path]) -> list[str | None]:
        return [answer[0]["label"] for answer in peer([str(path) for path in photos], **ask)]

    return label


def by_hand(model: Path, labels: Sequence[str]) -> Label:
    """What one writes with transformers: labels embedded once, images in batches."""
    processor = AutoProcessor.from_pretrained(model)
    clip = AutoModel.from_pretrained(model, dtype=_DTYPE).eval()
    with torch.inference_mode():
        prompts = processor(
            text=[TEMPLATE.format(label) for label in labels], return_tensors="pt", padding=True
        )
        classes = torch.nn.functional.normalize(clip.get_text_features(**prompts).pooler_output)

    def label(photos: Sequence[Path]) -> list[str | None]:
        answers: list[str | None] = []
        for start in range(0, len(photos), BATCH):
            opened = spread(lambda path: Image.open(path).convert("RGB"), photos[start:][:BATCH])
            pixels = processor(images=opened, return_tensors="pt")["pixel_values"].to(_DTYPE)
            with torch.inference_mode():
                images = clip.get_image_features(pixel_values=pixels).pooler_output
            answers += [labels[best] for best in (images @ classes.T).argmax(-1).tolist()]
        return answers

    return label


def beside_transformers(
    name: str, classifier: ZeroShotClassifier, model: Path, photos: Sequence[Path], few: int
) -> Contest:
    """Images a second, by Footwork and three ways of transformers; a slow one has a `few`."""
    top: dict[str, list[str | None]] = {}

    def rate(who: str, label: Label, taken: Sequence[Path]) -> float:
        def work() -> None:
            top[who] = label(taken)

        return len(taken) / seconds(work)

    def own(taken: Sequence[Path]) -> list[str | None]:
        return [answer.label for answer in classifier.label_files(taken)]

    def note() -> str:
        same = [
            np.mean([a == b for a, b in zip(top["own"], labels, strict=False)])
            for labels in top.values()
        ]
        return f"at least {min(same):.0%} of the top labels are the same"

    labels = classifier.labels
    batched = by_pipeline(model, labels, batch_size=BATCH, dtype=_DTYPE)
    peers = {
        "pipeline at its defaults": (by_pipeline(model, labels), photos[:few], None),
        f"pipeline, batch_size={BATCH}, {_PRECISION}": (batched, photos, None),
        f"transformers by hand: labels once, {BATCH} images at once, decoded in threads, "
        f"{_PRECISION}": (by_hand(model, labels), photos, 1.0),
    }
    return Contest(
        name=name,
        unit="images/s",
        own=partial(rate, "own", own, photos),
        peers=[
            Peer(name=peer, measure=partial(rate, peer, label, taken), target=target)
            for peer, (label, taken, target) in peers.items()
        ],
        note=note,
    )


def measure_labels(setting: Setting) -> Iterator[Contest]:
    """1,000 labels, and 80 templates: Footwork reads them once."""
    model = save_clip(setting)
    encoder = DualEncoder(str(model))
    photos = save_photos(setting, setting.size(32, 2), SMALL)
    labels = label_names(setting.size(1000, 20))
    one = ZeroShotClassifier(encoder, labels, ALWAYS)
    yield beside_transformers("label_1000_labels", one, model, photos, setting.size(1, 1))
    few = labels[: setting.size(5, 2)]
    single, many = (ZeroShotClassifier(encoder, few, options) for options in (ALWAYS, EIGHTY))

    def rate(classifier: ZeroShotClassifier) -> float:
        return len(photos) / seconds(lambda: deque(classifier.label_files(photos), maxlen=0))

    yield Contest(
        name="label_80_templates",
        unit="images/s",
        own=partial(rate, many),
        peers=(Peer(name="one template", measure=partial(rate, single), target=0.9),),
    )
    homes = count()

    def anew() -> float:
        os.environ["FOOTWORK_HOME"] = str(setting.folder / f"empty-{next(homes)}")
        return seconds(lambda: ZeroShotClassifier(encoder, few, EIGHTY))

    anew()
    yield Contest(
        name="read_80_templates_again",
        unit="s",
        own=lambda: seconds(lambda: ZeroShotClassifier(encoder, few, EIGHTY)),
        peers=(Peer(name="the first time", measure=anew, target=10),),
    )


def measure_many_labels(setting: Setting) -> Iterator[Contest]:
    """50,000 labels beside 1,000, on the embedded model: reading the labels is what takes time."""
    encoder = DualEncoder("tiny")
    rows = np.tile(encoder.encode_images(save_photos(setting, setting.size(64, 2), SMALL)), (4, 1))
    many, some = setting.size(50_000, 500), setting.size(1_000, 50)
    homes = count()

    def held(number: int) -> float:
        os.environ["FOOTWORK_HOME"] = str(setting.folder / f"home-{next(homes)}")
        names = label_names(number)

        def label() -> float:
            deque(ZeroShotClassifier(encoder, names).label_embeddings(rows), maxlen=0)
            return 0.0

        return max(watched(label).highest, 1.0)

    vectors = many * encoder.width * 4 / 2**20
    yield Contest(
        name="labels_50000_memory",
        unit="MiB",
        own=partial(held, many),
        peers=(
            Peer(
                name="1,000 labels, and the vectors of 50,000",
                measure=lambda: held(some) + vectors,
                target=0.5,
            ),
        ),
        rounds=2,
        warm_up=False,
    )


def measure_photos(setting: Setting) -> Iterator[Contest]:
    """Photographs of 12 megapixels, beside transformers and beside decoding and model alone."""
    model = save_clip(setting)
    encoder = DualEncoder(str(model))
    photos = save_photos(setting, setting.size(16, 2), MEGAPIXELS_12)
    classifier = ZeroShotClassifier(encoder, label_names(10), ALWAYS)
    yield beside_transformers("label_12_megapixels", classifier, model, photos, setting.size(4, 2))
    yield Contest(
        name="label_12_megapixels_bound",
        unit="images/s",
        own=lambda: len(photos) / seconds(lambda: deque(classifier.label_files(photos), maxlen=0)),
        peers=(
            Peer(
                name="decoding alone and the model alone, added",
                measure=partial(processing_bound, encoder, photos),
                target=0.85,
            ),
        ),
    )


def measure_draft(setting: Setting) -> Iterator[Contest]:
    """Embeddings of JPEGs decoded at a fraction, beside those of all pixels."""
    encoder = DualEncoder(str(save_clip(setting)))
    photos = save_photos(setting, setting.size(64, 4), MEGAPIXELS_12)
    quick = encoder.encode_images(photos)
    whole = np.concatenate([encoder.encode_images([decode_image(path)]) for path in photos])
    middle = whole.mean(axis=0)

    def lowest(one: np.ndarray, other: np.ndarray) -> float:
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return float(((one * other).sum(axis=1) / lengths).min())

    yield Contest(
        name="draft_mode_cosine",
        unit="cosine",
        own=partial(lowest, quick, whole),
        limit=">= 0.99",
        note=lambda: (
            f"lowest of {len(photos)}; lowest after subtracting the mean embedding "
            f"{lowest(quick - middle, whole - middle):.4f}"
        ),
        rounds=1,
        warm_up=False,
    )


BENCHMARKS: dict[str, Benchmark] = {
    "labels": measure_labels,
    "many-labels": measure_many_labels,
    "photos": measure_photos,
    "draft": measure_draft,
}
