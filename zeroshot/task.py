"""Images as a task of fine-tuning: a labelled folder in, a tower that was trained on it out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch

from footwork.accelerator import (
    compute_device,
    gather_shares,
    is_main_process,
    wait_for_everyone,
)
from footwork.arrays import DoubleArray, FloatArray
from footwork.errors import ConfigError, DataError, ModelError
from footwork.evaluation.baselines import label_models, majority_logits
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.result import Assessment, Evaluation, evaluate_logits
from footwork.fewshot import linear_probe
from footwork.fewshot.examples import Examples
from footwork.fewshot.heads import LinearHead
from footwork.files.faults import shortened
from footwork.files.paths import path_text
from footwork.finetuning.card import PLACE
from footwork.finetuning.task import (
    CardWords,
    EncodedRows,
    InputData,
    Inputs,
    Learner,
    Notify,
    Task,
    has_one_head,
    head_of,
)
from footwork.finetuning.train import TrainedRun, features_of
from footwork.finetuning.train import train as train_task
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import METHODS
from footwork.models.heads import HeadOrigin
from footwork.models.hub import IMAGE_PRESETS
from footwork.models.image_classifiers import (
    load_image_classifier,
    load_image_processor,
    load_image_shape,
    load_trained_image_classifier,
)
from footwork.tables.labels import (
    MULTI_LABEL,
    SINGLE_LABEL,
    encode_targets,
)
from footwork.training.run import Existing
from zeroshot.classifier import ZeroShotClassifier, ZeroShotOptions
from zeroshot.config import KIND, FinetuneConfig
from zeroshot.finetuned import FinetunedClassifier, FinetunedOptions
from zeroshot.labelled_images import (
    SkippedImage,
)
from zeroshot.pixels import PixelFile, augmented, decode_once
from zeroshot.splits import read_images, read_part, readable

__all__ = ["FinetunedRun", "ImageTask", "assess", "finetune"]

FinetunedRun = TrainedRun
INVERSE_PENALTY = 100.0
"""Of the linear probe. Fixed, so that nothing is chosen on the images it is judged on."""
_PICTURES = "pictures.bin"


def finetune(
    examples: Path | str,
    out: Path | str,
    config: FinetuneConfig | None = None,
    *,
    existing: Existing = "refuse",
    notify: Notify = lambda _: None,
) -> TrainedRun:
    """Fine-tune an image tower and publish it as a folder.

    Args:
        examples: A folder with one sub-folder a class, or with such folders named `train`,
            `validation` and `test`; or a table of paths and labels, several an image maybe.
        out: The folder to publish; `out.training` beside it holds the checkpoints meanwhile.
        config: Every setting.
        existing: What to do where `out` or an unfinished run of it exists.
        notify: Takes progress and warnings, one text each.

    Raises:
        FootworkError: As `footwork.finetuning.train.train`.
    """
    config = config or FinetuneConfig()
    return train_task(ImageTask(), examples, out, config, existing=existing, notify=notify)


def assess(source: Path, classifier: FinetunedClassifier) -> Assessment:
    """Judge a fine-tuned classifier on images whose labels are known.

    Args:
        source: As for `finetune`, without splits.
        classifier: Judged with the temperature and the threshold that it was published with.

    Raises:
        DataError: None can be read, or a label is not among the classifier's.
    """
    rule, trained = classifier.rule, classifier.manifest
    several = rule.task == MULTI_LABEL
    stated = {name: trained["config"].get(name) for name in ("label_column", "label_separator")}
    config = FinetuneConfig(task="multi" if several else "single", **stated)
    part = read_part(source, config)
    if unknown := [name for name in part.class_names if name not in rule.labels]:
        raise DataError(
            f"The classifier does not know {shortened(map(repr, unknown))}; it was trained on "
            f"{shortened(map(repr, rule.labels))}. Rename these classes, or leave them out."
        )
    logits, kept, faults = classifier.readable_logits(part.paths)
    lost = tuple(SkippedImage(path_text(path), reason) for path, reason in faults.items())
    if not kept:
        raise DataError(
            f"None of the {len(part.paths)} images of {source} can be read. The first: "
            f"{lost[0].place}: {lost[0].reason}."
        )
    targets = encode_targets([part.labels[place] for place in kept], rule.labels, rule.task)
    given = GivenCalibration(rule.temperature, rule.abstain_below)
    evaluation = evaluate_logits(rule.task, rule.labels, targets, logits, given=given)
    remarks: tuple[str, ...] = ()
    if Path(trained["data"]["path"]).resolve() == source.resolve():
        remarks = ("It was trained on most of these images: the figures say nothing of new ones.",)
    evaluation = replace(evaluation, noun="images", remarks=remarks)
    return Assessment(evaluation, part.notes, (*part.skipped, *lost))


class DecodedImages(EncodedRows):
    """Pictures decoded once, in a file; made with what the pretrained model says of them.

    The baselines are judged before the training, which changes the model; a new head begins as the
    linear probe.

    Args:
        learner: Its images.
        run: Where the file lies.
        notify: Takes progress.
    """

    data: InputData
    noun = "image"

    def __init__(self, learner: Learner, run: Path, notify: Notify) -> None:
        config = cast("FinetuneConfig", learner.config)
        parts = cast("InputData", learner.data).splits
        paths = [path for part in parts.values() for path in part.inputs]
        notify(f"decoding {len(paths)} images, once for all epochs")
        self._file: PixelFile
        self._file, faults = decode_once(paths, learner.preparation, run / _PICTURES)
        super().__init__(readable(cast("InputData", learner.data), faults))
        sizes = [len(part) for part in self.data.splits.values()]
        firsts = np.cumsum([0, *sizes[:-1]]).tolist()
        self._first = dict(zip(self.data.splits, firsts, strict=True))
        self._seed = config.seed if config.augments else None
        learner.model.to(compute_device())
        self._baselines = self._judge_pretrained(learner, notify)

    def inputs(self, split: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Pixels, normalised."""
        first = self._first[split]
        return {"pixel_values": self._file.batch([first + row for row in rows])}

    def training_batch(self, rows: Sequence[int], epoch: int) -> dict[str, torch.Tensor]:
        """Pixels, changed at random where that is wanted; by the epoch and the row alone."""
        pixels = self.inputs("train", rows)["pixel_values"]
        if self._seed is not None:
            pixels = augmented(pixels, [(self._seed, epoch, row) for row in rows])
        return {"pixel_values": pixels}

    def baselines(self, split: str, notify: Notify) -> dict[str, Evaluation]:
        """The commonest answer, class names alone, and a linear probe, as they were judged."""
        return self._baselines

    def question(self, split: str, rows: range) -> Any:
        """Paths; bytes of a name that are no UTF-8 cannot stand in JSON."""
        paths = self.data.splits[split].inputs[rows.start : rows.stop]
        return [os.fsencode(path.absolute()).hex() for path in paths]

    def _judge_pretrained(self, learner: Learner, notify: Notify) -> dict[str, Evaluation]:
        data, model = self.data, learner.model
        reported = "test" if "test" in data.splits else "validation"
        notify(
            "judging the pretrained model: by class names, and by a linear probe of its features"
        )
        train, judged = data.splits["train"], data.splits[reported]
        logits = {
            "majority": majority_logits(data.task, len(data.labels), train.targets, len(judged))
        }
        if is_main_process() and data.task == SINGLE_LABEL:
            named = _logits_by_names(data, judged, learner)
            logits |= {} if named is None else {"zero_shot": named}
        if has_one_head(model):
            kept, wanted = (
                features_of(self, model, split, learner.config.mixed_precision).flatten(1).numpy()
                for split in ("train", reported)
            )
            probe = gather_shares(fit_probe(kept, data) if is_main_process() else None)[0]
            if not learner.head.kept:
                _start_head(model, probe)
            logits["linear_probe"] = probe.scores(wanted)
        wait_for_everyone()
        if not is_main_process():
            return {}
        return {
            name: replace(
                evaluate_logits(data.task, data.labels, judged.targets, each), noun="images"
            )
            for name, each in logits.items()
        }


def _logits_by_names(data: InputData, judged: Inputs, learner: Learner) -> DoubleArray | None:
    """By the names of the classes alone; None for a model that reads no texts, or none of these."""
    from footwork.encoder.dual import DualEncoder

    config = learner.config
    try:
        encoder = DualEncoder.load(config.model_id, config.revision)
        classifier = ZeroShotClassifier(encoder, data.labels, ZeroShotOptions(none_below=None))
    except (ModelError, ConfigError):
        return None
    probabilities = classifier.predict_proba(judged.inputs)
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def fit_probe(features: FloatArray, data: InputData) -> LinearHead:
    """Logistic regression on what the pretrained tower says, no weight of it moved.

    Args:
        features: Of the training images, (N, D).
        data: Whose labels they have.
    """
    targets = data.splits["train"].targets
    # To a mean length of 1, for which the penalty is meant; the weights take it back.
    scale = np.float32(np.linalg.norm(features, axis=1).mean() or 1.0)
    rows = features / scale
    if data.task == SINGLE_LABEL:
        head = linear_probe.fit(Examples(rows, targets, len(data.labels)), INVERSE_PENALTY)
        return LinearHead(head.weights / scale, head.bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a baseline that has not converged is still a baseline
        models = label_models(rows, targets, INVERSE_PENALTY)
    weights = np.zeros((len(models), rows.shape[1]), np.float32)
    bias = np.zeros(len(models), np.float32)
    for number, model in enumerate(models):
        if isinstance(model, float):
            bias[number] = model
        else:
            weights[number], bias[number] = model.coef_[0], model.intercept_[0]
    return LinearHead(weights / scale, bias)


def _start_head(model: Any, probe: LinearHead) -> None:
    """Let the head begin as a linear probe, where it is linear: a random one spoils the tower.

    Source: LP-FT, Kumar et al. 2022, section 3 (arXiv:2202.10054).
    """
    layers = [one for one in head_of(model).modules() if any(True for _ in one.parameters(False))]
    if len(layers) != 1 or type(layers[0]) is not torch.nn.Linear or layers[0].bias is None:
        return
    with torch.no_grad():
        layers[0].weight.copy_(torch.from_numpy(probe.weights))
        layers[0].bias.copy_(torch.from_numpy(probe.bias))


class ImageTask(Task):
    """Images that have a class, or several labels."""

    application = "zeroshot"
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
    libraries = ("pillow",)

    def open(self, config: FinetuneConfig) -> Any:
        """The image processor."""
        processor = load_image_processor(config.model_id, config.revision)
        shape = load_image_shape(config.model_id, config.revision, config.features_from)
        require_adaptable(shape, config.method, checkpointing=config.activation_checkpointing)
        if METHODS[config.method].features_once:
            head_of(shape)
        return processor

    def read(self, source: Any, config: FinetuneConfig) -> InputData:
        """A folder, or a table."""
        return read_images(Path(source), config)

    def load(self, config: FinetuneConfig, data: Any, preparation: Any) -> tuple[Any, HeadOrigin]:
        """An image classifier."""
        return load_image_classifier(
            config.model_id,
            labels=data.labels,
            revision=config.revision,
            features_from=config.features_from,
            task=data.task,
        )

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
        inputs = preparation(images=[Image.fromarray(one) for one in noise], return_tensors="pt")
        with torch.inference_mode():
            logits: torch.Tensor = model(pixel_values=inputs["pixel_values"]).logits
        return logits.float()

    def answer(self, folder: Path, question: Any) -> FloatArray:
        """As `zeroshot label --taught` would answer in float32."""
        paths = [Path(os.fsdecode(bytes.fromhex(name))) for name in question]
        classifier = FinetunedClassifier.load(folder, FinetunedOptions(precision="float32"))
        return classifier.logits(paths)

    def manifest(self, data: Any, config: FinetuneConfig) -> dict[str, Any]:
        """What kind of taught classifier it is, and how many images were left out."""
        return {"kind": KIND, "data": {"skipped": len(data.skipped)}}

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
