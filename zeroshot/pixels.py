"""Pictures as a model takes them, decoded once into a file: the rows of a fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from footwork.accelerator import (
    available_cores,
    channels_last,
    compute_device,
    gather_shares,
    is_main_process,
    wait_for_everyone,
)
from footwork.arrays import DoubleArray, FloatArray, IntArray
from footwork.encoder.streaming import Preprocessing, prepare_picture
from footwork.errors import ConfigError, DataError, ImageError, ModelError
from footwork.evaluation.result import Evaluation
from footwork.files.faults import counted
from footwork.files.paths import path_text
from footwork.finetuning.data import Inputs, LabelledData, judge_majority
from footwork.finetuning.head import drawn, solve_output
from footwork.finetuning.task import EncodedRows, Learner, Notify, logits_of
from footwork.finetuning.validation import judge_baseline
from footwork.images.ahead import made_ahead
from footwork.methods.head import LinearSolution, solve
from footwork.models.pooling import FeatureReader
from footwork.options import Decode, EncoderConfig
from footwork.tables.labels import SINGLE_LABEL
from zeroshot.classifier import ZeroShotClassifier
from zeroshot.labelled_images import SkippedImage, lacks_images, without_folder
from zeroshot.options import Augment, FinetuneConfig, ZeroShotOptions

SMALLEST_CROP = 0.8
"""Side of a random crop, as a share of the picture's."""
_EXACT = 1e-4  # levels of 255: what rounding may lose where a picture is kept in 8 bits
_PICTURES = "pictures.bin"
_CHANGED, _LOST = 500, 0.05
"""Validation images that tell whether a change is harmless, and the share that it may cost."""


class Levels:
    """Between normalised pixels and the 8-bit levels that a processor computed them from."""

    def __init__(self, processor: Any) -> None:
        mean, deviation = (
            np.asarray(values, np.float32).reshape(-1, 1, 1)
            for values in (processor.image_mean, processor.image_std)
        )
        self.scale = np.float32(processor.rescale_factor) / deviation
        self.shift = mean / deviation

    def of(self, pixels: FloatArray) -> FloatArray:
        """Levels, 0 to 255 where the processor did nothing else, (..., 3, H, W)."""
        levels: FloatArray = (pixels + self.shift) / self.scale
        return levels

    def pixels(self, levels: NDArray[np.generic]) -> FloatArray:
        """Normalised pixels, (..., 3, H, W)."""
        pixels: FloatArray = levels.astype(np.float32) * self.scale
        pixels -= self.shift
        return pixels

    def keep(self, pixels: FloatArray) -> bool:
        """Whether 8 bits hold a picture exactly."""
        levels = self.of(pixels)
        whole = np.rint(levels)
        close = np.abs(levels - whole).max() < 255 * _EXACT
        return bool(close and whole.min() >= 0 and whole.max() <= 255)


class PixelFile:
    """N pictures of one shape, (N, 3, H, W), on the disk, read as they are needed.

    `levels` make pixels of what is stored in 8 bits; None where pixels are stored as they are.
    `groups`, (N,), are numbers, the same for pictures that are equal.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], levels: Levels | None, groups: IntArray
    ) -> None:
        self._levels, self.groups = levels, groups
        dtype = np.float32 if levels is None else np.uint8
        self._stored = np.memmap(path, dtype, "r", shape=shape)

    def __len__(self) -> int:
        return len(self._stored)

    def batch(self, rows: Sequence[int] | IntArray) -> torch.Tensor:
        """Pictures (B, 3, H, W), normalised, in float32."""
        stored = self._stored[np.asarray(rows)]
        return torch.from_numpy(self._levels.pixels(stored) if self._levels else stored)


def decode_once(
    paths: Sequence[Path], processor: Any, target: Path, decode: Decode = "draft"
) -> tuple[PixelFile, dict[Path, str]]:
    """Decode files into one, for a model's image processor; on the main process, for all of them.

    Returns:
        What could be read, in order, and why the rest could not, by path.

    Raises:
        ModelError: The model takes pictures of no fixed shape.
        ImageError: None can be read.
    """
    preprocessing = Preprocessing(processor, decode)
    told = _write(paths, preprocessing, processor, target) if is_main_process() else None
    shape, exact, faults, groups = gather_shares(told)[0]
    # Those of images in memory are files of their process.
    named = {paths[number]: reason for number, reason in faults.items()}
    return PixelFile(target, shape, Levels(processor) if exact else None, groups), named


def _write(
    paths: Sequence[Path], preprocessing: Preprocessing, processor: Any, target: Path
) -> tuple[tuple[int, ...], bool, dict[int, str], IntArray]:
    """Shape and groups of what is stored, if in 8 bits, and faults by the places of their paths."""
    faults: dict[int, str] = {}
    groups: list[int] = []
    shape: tuple[int, ...] = ()
    steps = ("do_rescale", "do_normalize")
    levels = Levels(processor) if all(getattr(processor, s, None) for s in steps) else None
    count, prepare = 0, partial(prepare_picture, preprocessing)
    with target.open("wb") as file:
        every = made_ahead(paths, prepare, available_cores())
        for number, (_, prepared) in enumerate(every):
            if isinstance(prepared, ImageError):
                faults[number] = prepared.reason
                continue
            if set(prepared) != {"pixel_values"}:
                raise ModelError(_no_fixed_shape(", ".join(prepared)))
            pixels = prepared["pixel_values"].astype(np.float32, copy=False)
            if not count:
                shape = pixels.shape
                levels = levels if levels is not None and levels.keep(pixels) else None
            if pixels.ndim != 3 or pixels.shape != shape:
                raise ModelError(_no_fixed_shape(f"shapes such as {pixels.shape}"))
            stored = pixels if levels is None else np.rint(levels.of(pixels)).astype(np.uint8)
            file.write(content := np.ascontiguousarray(stored).tobytes())
            groups.append(hash(content))
            count += 1
    if not count:
        raise ImageError(str(paths[0]), f"{faults[0]}; none of {len(paths)} files can be read")
    return (count, *shape), levels is not None, faults, np.array(groups)


def _no_fixed_shape(told: str) -> str:
    return (
        f"This model takes pictures of no fixed shape ({told}), which cannot be trained on here. "
        "Take one of a fixed resolution."
    )


def augmented(
    pictures: torch.Tensor, seeds: Sequence[tuple[int, ...]], augment: Augment
) -> torch.Tensor:
    """Mirror every second picture; where crops are wanted, cut each first, and resize it back.

    Source: the usual training transform since Krizhevsky et al. 2012, with the milder crops that
    suit a pretrained tower.

    Args:
        pictures: Shape (B, 3, H, W).
        seeds: B of them; the same gives the same picture, whatever stands beside it.
        augment: How.
    """
    if augment == "none":
        return pictures
    height, width = pictures.shape[2:]
    changed = []
    for picture, seed in zip(pictures, seeds, strict=True):
        share, top, left, mirrored = np.random.default_rng(seed).random(4).tolist()
        if augment == "crops":
            share = SMALLEST_CROP + (1 - SMALLEST_CROP) * share
            rows, columns = max(1, round(share * height)), max(1, round(share * width))
            y, x = round(top * (height - rows)), round(left * (width - columns))
            cut = picture[None, :, y : y + rows, x : x + columns]
            [picture] = functional.interpolate(cut, (height, width), mode="bilinear")
        changed.append(picture.flip(-1) if mirrored < 0.5 else picture)
    return torch.stack(changed)


def require_usable(data: LabelledData) -> None:
    """Refuse a class without a training image, and a split without any: a `DataError`."""
    why = f" {data.skipped[0]}" if data.skipped else ""
    for name, part in data.splits.items():
        if not len(part):
            raise DataError(f"No image of the {name} split is left.{why}")
    if len(data.labels) < 2 and data.task == SINGLE_LABEL:
        raise DataError(f"All images are of one class, {data.labels[0]!r}: add others.")
    for number in np.flatnonzero(data.counts() == 0).tolist():
        raise lacks_images(data.labels[number], data.skipped)


def readable(
    data: LabelledData, faults: dict[Path, str], files: Path | None = None
) -> LabelledData:
    """Without the files that ended as no image; those in `files` are told as images in memory."""
    splits = {
        name: part.take(np.array([path not in faults for path in part.inputs], dtype=bool))
        for name, part in data.splits.items()
    }
    lost = tuple(SkippedImage(path_text(path), reason) for path, reason in faults.items())
    lost = without_folder(lost, files)
    for name, part in data.splits.items():
        if not len(splits[name]):
            first = lost[list(faults).index(part.inputs[0])]
            raise DataError(f"No image of the {name} split is left. {first}")
    kept = replace(data, splits=splits, skipped=(*data.skipped, *lost))
    require_usable(kept)
    return kept


@dataclass(slots=True)
class Pretrained:
    """What a pretrained model was asked before a training changed it: once for all copies."""

    baselines: dict[str, Evaluation] | None = None
    probe: LinearSolution | None = None
    """The output layer that was solved to judge them, if one could be."""
    harmless: tuple[Augment, str] | None = None
    """The augmentation that `auto` is, and why."""


class DecodedImages(EncodedRows):
    """Pictures decoded once, in a file of a run."""

    noun = "image"
    _view: Augment = "none"
    """How rows are changed where they are judged: all mirrored, or cut."""

    def __init__(self, learner: Learner, run: Path, notify: Notify) -> None:
        config = cast("FinetuneConfig", learner.config)
        paths = [path for part in learner.data.splits.values() for path in part.inputs]
        notify(f"decoding {counted(len(paths), 'image')}, once for all epochs")
        self._file: PixelFile
        self._file, faults = decode_once(
            paths, learner.preparation, run / _PICTURES, config.decode or "draft"
        )
        super().__init__(readable(learner.data, faults, cast("Any", learner.task).files))
        self.groups = self._file.groups
        self._seed, self._augment = config.seed, config.augmentation
        self.varies = self._augment != "none"
        self._pretrained = Pretrained()

    def begin(self, learner: Learner, notify: Notify) -> None:
        """Judge the pretrained model, keep the output layer solved on it, and settle `auto`."""
        told = self._pretrained
        if told.baselines is None:
            told.baselines = self._judge_pretrained(learner, notify)
        if self._augment == "auto":
            told.harmless = told.harmless or self._harmless_augmentation(learner)
            self._augment, said = told.harmless
            self.varies = self._augment != "none"
            self.data = replace(self.data, notes=(*self.data.notes, *filter(None, [said])))
            if said:
                notify(said)

    def for_learner(self, learner: Learner) -> Self:
        """With the augmentation of its method, by its seed; its head is solved for itself."""
        config, other = cast("FinetuneConfig", learner.config), copy(self)
        other._seed, other._augment = config.seed, config.augmentation
        other.varies = other._augment != "none"
        return other

    def inputs(self, split: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Pixels, normalised."""
        pixels = self._file.batch(self.numbers(split, rows))
        if self._view == "flips":
            pixels = pixels.flip(-1)
        elif self._view == "crops":
            pixels = augmented(pixels, [(self._seed, row) for row in rows], "crops")
        return channels_last({"pixel_values": pixels})

    def training_batch(
        self, split: str, rows: Sequence[int], epoch: int
    ) -> dict[str, torch.Tensor]:
        """Pixels, changed at random where that is wanted; by the epoch and the row alone."""
        pixels = self.inputs(split, rows)["pixel_values"]
        seeds = [(self._seed, epoch, row) for row in rows]
        return channels_last({"pixel_values": augmented(pixels, seeds, self._augment)})

    def baselines(self, split: str, notify: Notify) -> dict[str, Evaluation]:
        """The commonest answer, class names alone, and a linear probe, as they were judged."""
        return self._pretrained.baselines or {}

    def question(self, split: str, rows: range) -> Any:
        """Paths; bytes of a name that are no UTF-8 cannot stand in JSON."""
        paths = self.data.splits[split].inputs[rows.start : rows.stop]
        return [os.fsencode(path.absolute()).hex() for path in paths]

    def _harmless_augmentation(self, learner: Learner) -> tuple[Augment, str]:
        """The most that leaves what a linear probe says of validation images, and a sentence."""
        probe = self._pretrained.probe
        if probe is None:
            return "crops", ""
        validation, precision = self.data.splits["validation"], learner.config.mixed_precision
        rows = drawn(len(validation), _CHANGED)
        right, reader, changed = {}, FeatureReader(learner.model), copy(self)
        views: tuple[Augment, ...] = ("none", "flips", "crops")
        for view in views:
            changed._view = view
            read = logits_of(changed, reader, "validation", precision, rows)
            logits = read @ probe.weight.T.numpy() + probe.bias.numpy()
            right[view] = told_right(logits, validation.targets[rows])
        chosen: Augment = "none"
        for augment in views[1:]:  # a crop is mirrored, too
            lost = right["none"] - right[augment]
            if lost.mean() > max(_LOST, 2 * lost.std() / np.sqrt(len(rows))):
                break
            chosen = augment
        shares = {name: f"{each.mean():.3f}" for name, each in right.items()}
        return chosen, (
            f"Augmentation: {chosen}. Of {len(rows)} validation images a linear probe tells "
            f"{shares['none']} right as they are, {shares['flips']} mirrored and {shares['crops']} "
            "cut (--augment decides)."
        )

    def _judge_pretrained(self, learner: Learner, notify: Notify) -> dict[str, Evaluation]:
        data, model = self.data, learner.model.to(compute_device())
        reported = data.judging[-1]
        notify(
            "judging the pretrained model: by class names, and by a linear probe of its features"
        )
        train, judged, logits = data.splits["train"], data.splits[reported], {}
        if is_main_process() and data.task == SINGLE_LABEL:
            named = _logits_by_names(data, judged, learner)
            logits = {} if named is None else {"zero_shot": {reported: named}}
        with suppress(ModelError):  # of a model without one linear output layer
            reader, precision = FeatureReader(model), learner.config.mixed_precision
            asked = [reported] if data.task == SINGLE_LABEL else data.judging
            read = {name: logits_of(self, reader, name, precision) for name in asked}
            probe = self._pretrained.probe = solve_output(learner, self, solve)
            weight, bias = probe.weight.T.numpy(), probe.bias.numpy()
            logits["linear_probe"] = {name: each @ weight + bias for name, each in read.items()}
        wait_for_everyone()
        if not is_main_process():
            return {}
        found = {"majority": judge_majority(data, judged, "images")}
        for name, each in logits.items():
            found[name] = judge_baseline(data, reported, each.__getitem__, "images")
        if self.solution is not None and self.solution.rows < len(train):
            some = f"{self.solution.rows:,} of {len(train):,} images"
            said = (f"The linear probe was fitted on {some}, drawn at random.",)
            found["linear_probe"] = replace(found["linear_probe"], remarks=said)
        return found


def told_right(logits: FloatArray, targets: NDArray[Any]) -> DoubleArray:
    """How much of each row is told, (N,): its class, or the share of its labels."""
    if targets.ndim == 1:
        return (logits.argmax(axis=1) == targets).astype(np.float64)
    return ((logits > 0) == (targets > 0)).mean(axis=1)


def _logits_by_names(data: LabelledData, judged: Inputs, learner: Learner) -> DoubleArray | None:
    """By the names of the classes alone; None for a model that reads no texts, or none of these."""
    from footwork.encoder.dual import DualEncoder

    config = cast("FinetuneConfig", learner.config)
    how = EncoderConfig(decode=config.decode)
    try:
        encoder = DualEncoder(config.model_id, config.revision, how)
        classifier = ZeroShotClassifier(encoder, data.labels, ZeroShotOptions(none_below=None))
    except (ModelError, ConfigError):
        return None
    probabilities = classifier.predict_proba(judged.inputs)
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
