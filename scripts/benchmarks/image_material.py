"""What the image benchmarks run on: a CLIP of ViT-B/32's shape, photographs, words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessorPil, CLIPModel

from footwork.encoder.dual import DualEncoder
from footwork.images.decoding import decode_image
from footwork.images.finding import find_images
from footwork.models.hub import TINY_CLIP
from scripts.benchmarks.suite import Setting, seconds

SEED = 0
MEGAPIXELS_12 = (4000, 3000)
SMALL = (640, 480)
QUALITY = 92  # of phones and cameras
GRAIN = 5.0  # standard deviation of sensor noise, of 255


def save_clip(setting: Setting) -> Path:
    """Random weights of the default sizes of transformers' CLIP, which are ViT-B/32's.

    The tokenizer is the embedded model's: words have about as many tokens, and are as quickly cut.
    """
    if setting.miniature:
        return TINY_CLIP
    folder = setting.folder / "clip"
    tokenizer = AutoTokenizer.from_pretrained(str(TINY_CLIP))
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    config = CLIPConfig(text_config={**ends, "pad_token_id": tokenizer.pad_token_id})
    torch.manual_seed(SEED)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    return folder


def save_photos(setting: Setting, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEGs of one size: photographs blown up, or soft clouds of colour with grain."""
    folder, source = setting.folder / "photos", setting.photos
    if setting.miniature:
        size = SMALL  # grain of 12 million pixels takes most of a second
    folder.mkdir(parents=True, exist_ok=True)
    found = list(find_images([source]).paths)[:count] if source is not None else []
    random = np.random.default_rng(SEED)
    paths = []
    for number in range(len(found) or count):
        picture = decode_image(found[number]) if found else clouds(random)
        grain = random.normal(0, GRAIN, (size[1], size[0], 1))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) + grain
        path = folder / f"{number:04d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        paths.append(path)
    return paths


def clouds(random: np.random.Generator) -> Image.Image:
    """Soft shapes of every scale."""
    total = np.zeros((192, 256, 3))
    for level in range(2, 8):
        coarse = random.normal(0, 1, (3 * 2**level // 4 + 1, 2**level, 3))
        layer = [
            np.asarray(Image.fromarray(coarse[..., c].astype(np.float32)).resize((256, 192)))
            for c in range(3)
        ]
        total += np.stack(layer, axis=-1) * 45 / level
    return Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))


def label_names(count: int) -> list[str]:
    """Made-up words, each another one."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    size = len(syllables)
    return [
        syllables[n % size] + syllables[n // size % size] + syllables[n // size**2 % size]
        for n in range(count)
    ]


def processing_bound(encoder: DualEncoder, photos: Sequence[Path]) -> float:
    """Images a second of decoding alone and of the model alone, each on all cores, added."""
    side, cores = encoder.image_size, torch.get_num_threads()
    decoding = seconds(lambda: spread(lambda path: decode_image(path, side), photos))
    prepared = [encoder._preprocessing.prepare(decode_image(path, side)) for path in photos]
    size = len(prepared) // cores
    batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    computing = seconds(lambda: spread(encoder._forward, batches))
    return len(photos) / (decoding + computing)


def spread(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Do the work in as many threads as torch has, each of which has one of torch's."""
    cores = torch.get_num_threads()
    with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
        done = list(pool.map(work, items))
    torch.set_num_threads(cores)
    return done
