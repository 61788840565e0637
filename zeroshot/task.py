"""Images as a task of fine-tuning: a labelled folder in, a tower that was trained on it out.

They are read once and split once; never is the same file on two sides.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch

from footwork.arrays import FloatArray
from footwork.class_names import class_name
from footwork.errors import DataError
from footwork.evaluation.result import Assessment, evaluate_logits
from footwork.files.faults import shortened
from footwork.files.folders import read_manifest
from footwork.files.paths import path_line, user_path
from footwork.files.plain_files import content_of
from footwork.finetuning.card import PLACE
from footwork.finetuning.data import Inputs, LabelledData, held_out, remark_on_known
from footwork.finetuning.domains import add_target_split, known_targets
from footwork.finetuning.interface import Interface, function_of
from footwork.finetuning.task import CardWords, Learner, Notify, Task, TaskOf
from footwork.finetuning.train import TrainedRun
from footwork.images.finding import find_images
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import PROBE
from footwork.models.heads import HeadOrigin
from footwork.models.hub import IMAGE_PRESETS, model_folder, resolve_model_id
from footwork.models.image_classifiers import (
    load_image_classifier,
    load_image_processor,
    load_image_shape,
    load_trained_image_classifier,
)
from footwork.options import Precision
from footwork.tables.held import data_name
from footwork.tables.labels import (
    MULTI_LABEL,
    SINGLE_LABEL,
    resolve_task,
)
from footwork.tables.splits import JUDGED, SPLITS, find_splits, one_split
from zeroshot.finetuned import FinetunedClassifier
from zeroshot.labelled_images import (
    StatedLabels,
    embed_labelled_images,
    images_of,
    split_folders,
    without_folder,
)
from zeroshot.options import (
    APPLICATION,
    FINETUNED,
    FinetuneConfig,
    FinetunedOptions,
    decoding_in,
)
from zeroshot.pixels import DecodedImages, require_usable

__all__ = ["FinetunedRun", "ImageTask", "advise", "assess", "compare", "finetune", "merge"]

FinetunedRun = TrainedRun


def assess(source: Any, classifier: FinetunedClassifier, files: Path | None = None) -> Assessment:
    """Judge a fine-tuned classifier, as it was published, on images whose labels are known.

    Args:
        source: As for `finetune`; of several splits the test is judged, else the validation, else
            the train.
        classifier: With its own temperature and threshold.
        files: A folder for images that are in memory.

    Raises:
        DataError: None can be read, or a label is not among the classifier's.
    """
    rule, trained = classifier.rule, classifier.manifest
    column, separator = (trained["config"].get(f"label_{key}") for key in ("column", "separator"))
    stated = StatedLabels(rule.task, column, separator, known=rule.labels)
    chosen, said = one_split(source, split_folders, JUDGED)
    part = images_of(chosen, stated, files)
    if unknown := [name for name in part.class_names if name not in rule.labels]:
        raise DataError(
            f"The classifier does not know {shortened(map(repr, unknown))}; it was trained on "
            f"{shortened(map(repr, rule.labels))}. Rename these classes, or leave them out."
        )
    judged = _sha256(map(_digest, part.paths))
    part, logits = embed_labelled_images(classifier.vectors, part)
    targets = part.targets_among(rule.labels)
    evaluation = evaluate_logits(rule.task, rule.labels, targets, logits, rule.given, "images")
    remarks = remark_on_known(trained["data"], judged, "images")
    evaluation = replace(evaluation, remarks=(*evaluation.remarks, *remarks))
    return Assessment(evaluation, (*said, *part.notes), without_folder(part.skipped, files))


def read_images(source: Any, config: FinetuneConfig, files: Path | None = None) -> LabelledData:
    """Find the images of every split; none is decoded, and no class lacks training images.

    Those in memory are written below `files`/SPLIT.
    """
    sources, unread = find_splits(source, split_folders, ("train",))
    stated = StatedLabels(
        config.task and resolve_task(config.task),
        *(config.label_column, config.label_separator, config.class_names()),
    )
    parts = {
        name: images_of(part, stated, files and files / name) for name, part in sources.items()
    }
    train = parts["train"]
    splits: dict[str, Inputs] = {}
    for name, part in parts.items():
        unknown = [label for label in part.class_names if label not in train.class_names]
        if unknown or part.task != train.task:
            what = f"the class {unknown[0]!r}" if unknown else "another number of labels an image"
            where = f"The {name} split of {data_name(source)}"
            raise DataError(
                f"{where} has {what}, which the training images lack. Add it there, or remove it."
            )
        splits[name] = Inputs(part.paths, part.targets_among(train.class_names))
    digests = {path: _digest(path) for part in splits.values() for path in part.inputs}
    of_parts = chain.from_iterable(part.notes for part in parts.values())
    notes = [*unread, *of_parts, *_several_labels(splits, digests, files)]
    if "validation" not in parts:
        every = splits["train"]
        _, groups = np.unique([digests[path] for path in every.inputs], return_inverse=True)
        share, groups = config.validation_share, groups.astype(np.int64)
        held = held_out(every.targets, train.task, groups, share, config.seed)
        splits |= {"train": every.take(~held), "validation": every.take(held)}
    known = {digests[path] for path in splits["train"].inputs}
    total = hashlib.sha256()
    for name, split in sorted(splits.items()):
        again = sum(digests[path] in known for path in split.inputs)
        if name != "train" and again:
            notes.append(
                f"Of the {len(split)} {name} images {again} {'is' if again == 1 else 'are'} among "
                "the training images too: "
                "the figures are better than the classifier."
            )
        for path, target in zip(split.inputs, split.targets.tolist(), strict=True):
            label = target if train.task == MULTI_LABEL else train.class_names[target]
            total.update(os.fsencode(f"{name}\0{label}\0{digests[path]}\n"))
    data = LabelledData(
        task=train.task,
        labels=train.class_names,
        splits={name: splits[name] for name in SPLITS if name in splits},
        held_out="validation" not in parts,
        sha256=total.hexdigest(),
        train_sha256=_sha256(digests[path] for path in train.paths),
        notes=tuple(notes),
        skipped=tuple(skipped for part in parts.values() for skipped in part.skipped),
    )
    require_usable(data)
    return data


def _several_labels(
    splits: Mapping[str, Inputs], digests: Mapping[Path, str], files: Path | None
) -> Iterator[str]:
    """Tell of images that are trained or judged as one thing and another."""
    known: dict[str, tuple[str, Any]] = {}
    pairs = []
    for split in splits.values():
        for path, target in zip(split.inputs, split.targets.tolist(), strict=True):
            name = path_line(path).removeprefix(f"{files}/")
            first, before = known.setdefault(digests[path], (name, target))
            if target != before:
                pairs.append(f"{first} and {name}")
    if pairs:
        yield f"One image has several labels: {shortened(pairs, 5)}. Keep the right one of each."


def with_target(data: LabelledData, folder: Path, config: FinetuneConfig) -> LabelledData:
    """The data with the images of a folder as its split `target`, of another domain.

    What is in a sub-folder called like a class has its label, unless an image may have several.
    """
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"`target` must be a folder of images, and {folder} {there}.")
    found = find_images([folder])
    single, known = data.task == SINGLE_LABEL, {*data.labels}
    below = [class_name(path.relative_to(folder).parts[0]) for path in found.paths]
    labels = [[name] if single and name in known else None for name in below]
    every = Inputs(found.paths, known_targets(labels, data.labels, data.task))
    data = replace(data, notes=(*data.notes, *found.remarks))
    said = folder.name, "no sub-folder is called like a class"
    return add_target_split(data, every, config.seed, _contents, said)


def _contents(part: Inputs) -> list[str]:
    return [*map(_digest, part.inputs)]


def _sha256(digests: Iterable[str]) -> str:
    """Of images, in whatever order they were found."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _digest(path: Path) -> str:
    """SHA-256 of a file; of its name where it cannot be read: decoding will say why."""
    return content_of(path) or f"unreadable {path}"


class ImageTask(Task):
    """Images that have a class, or several labels.

    `files` is a folder for those that are in memory.
    """

    def __init__(self, files: Path | None = None) -> None:
        self.files = files

    application = APPLICATION
    command = ("footwork", "zeroshot", "finetune")
    kind = "image"
    noun = "images"
    presets = IMAGE_PRESETS
    baseline_words: ClassVar = {
        "majority": "commonest answer",
        "zero_shot": "class names alone",
        "linear_probe": "linear probe",
    }
    rivals: ClassVar = {
        "linear_probe": "a linear probe of the pretrained features",
        "zero_shot": "the same model by class names alone",
    }
    suffices: ClassVar = {
        "linear_probe": f"footwork zeroshot finetune EXAMPLES OUT --method {PROBE}"
    }
    libraries = ("pillow",)

    def open(self, config: FinetuneConfig) -> Any:
        """The image processor."""
        processor = load_image_processor(config.model_id, config.revision)
        shape = load_image_shape(config.model_id, config.revision, config.features_from)
        require_adaptable(shape, config, checkpointing=config.activation_checkpointing)
        return processor

    def read(self, source: Any, config: FinetuneConfig) -> LabelledData:
        """A folder, a table or a data set of the Hub; a target is a folder."""
        data = read_images(source, config, self.files)
        if config.target is None:
            return data
        return with_target(data, user_path(config.target), config)

    def load(self, config: FinetuneConfig, data: Any, preparation: Any) -> tuple[Any, HeadOrigin]:
        """An image classifier."""
        return load_image_classifier(
            config.model_id,
            labels=data.labels,
            revision=config.revision,
            features_from=config.features_from,
            task=data.task,
            unmerged=config.continue_adapter,
        )

    def settle(
        self, config: FinetuneConfig, preparation: Any, model: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """How images are decoded: as those that the model was fine-tuned on before."""
        if config.decode is not None:
            return {}, ()
        folder = model_folder(resolve_model_id(config.model_id, self.presets), config.revision)
        made = decoding_in(read_manifest(folder, verify=False))
        said = f"Every pixel is decoded, as {config.model_id} was made (--decode exact)."
        return {"decode": made}, (said,) if made == "exact" else ()

    def encode(self, learner: Learner, run: Path, notify: Notify) -> DecodedImages:
        """As pixels in a file of the run."""
        return DecodedImages(learner, run, notify)

    def load_trained(self, folder: Path) -> tuple[Any, Any]:
        """An image classifier and its processor."""
        return load_trained_image_classifier(folder), load_image_processor(str(folder))

    def probe(self, model: Any, preparation: Any) -> torch.Tensor:
        """Of noise."""
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
        inputs = preparation(images=list(map(Image.fromarray, noise)), return_tensors="pt")
        with torch.inference_mode():
            logits: torch.Tensor = model(pixel_values=inputs["pixel_values"]).logits
        return logits.float()

    def classifier(self, folder: Path, **options: Any) -> FinetunedClassifier:
        """With its own settings, but for `options` of `FinetunedOptions`."""
        return FinetunedClassifier.load(folder, FinetunedOptions(**options))

    def answer(self, folder: Path, question: Any, precision: Precision) -> FloatArray:
        """As `zeroshot label --taught` would answer."""
        paths = [Path(os.fsdecode(bytes.fromhex(name))) for name in question]
        return self.classifier(folder, precision=precision).logits(paths)

    def manifest(self, learner: Learner, data: Any) -> dict[str, Any]:
        """What kind of taught classifier it is, and how many images were left out."""
        return {"kind": FINETUNED, "data": {"skipped": len(data.skipped)}}

    def words(self, manifest: Mapping[str, Any]) -> CardWords:
        """Of photos."""
        return CardWords(
            one="an image",
            predict=f"footwork zeroshot label photos/ --taught {PLACE} -o labels.csv",
            snippet="from pathlib import Path\n\nfrom zeroshot import FinetunedClassifier\n\n"
            f'classifier = FinetunedClassifier.load("{PLACE}")\n'
            'for answer in classifier.predict([Path("photo.jpg")]):\n'
            "    print(answer.label, answer.score)",
            asked='"photo.jpg"',
            plain="For a folder that needs nothing else, and that it does load: "
            f"`footwork zeroshot merge {PLACE} merged/`.",
            measure=f"footwork zeroshot evaluate labelled/ --taught {PLACE}",
            limits=(
                "It knows pictures like its training images. What it does on others was not "
                "measured.",
            ),
        )


@contextmanager
def _opened() -> Iterator[TaskOf]:
    """With a folder for images in memory."""
    with TemporaryDirectory(prefix="footwork-") as files:
        task = ImageTask(Path(files))
        yield lambda _: task


INTERFACE = Interface(FinetuneConfig, _opened)
finetune = function_of(__name__, "finetune", INTERFACE.train)
compare = function_of(__name__, "compare", INTERFACE.compare)
advise = function_of(__name__, "advise", INTERFACE.advise)
merge = function_of(__name__, "merge", INTERFACE.merge)
