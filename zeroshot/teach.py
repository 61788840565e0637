"""`teach`: a folder with a few images a class in, a classifier with an honest forecast out.

Folder → embeddings → words → examples left out → head → forecast → suggestions → publish. The
folder that is named appears only when all of it has succeeded.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from footwork.arrays import FloatArray
from footwork.encoder.protocol import ImageTextEncoder
from footwork.errors import DataError
from footwork.fewshot.examples import SAME_COSINE, Examples
from footwork.fewshot.forecast import forecast_text
from footwork.fewshot.knowledge import Words, knowledge_manifest
from footwork.fewshot.lesson import Lesson, learn, lesson_notes
from footwork.fewshot.methods import METHODS
from footwork.fewshot.suggestions import Candidates, suggest
from footwork.files.folders import published_folder, require_free
from footwork.files.paths import path_text
from footwork.images.finding import find_images
from footwork.prompts.labels import embed_labels
from footwork.prompts.templates import spoken
from search.update.processes import ProcessGroup, launched_processes
from zeroshot.classifier import DEFAULT_MODEL, label_prompts
from zeroshot.labelled_images import LabelledImages, SkippedImage, embed_files, read_examples
from zeroshot.options import TeachOptions
from zeroshot.taught import APPLICATION, TaughtClassifier

DEFAULTS = TeachOptions()
LIBRARIES = ("footwork", "numpy", "torch", "transformers", "scikit-learn", "safetensors")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image whose label would teach much."""

    path: Path
    reason: str
    """A clause."""


@dataclass(frozen=True, slots=True)
class TaughtRun:
    """A finished lesson."""

    folder: Path
    manifest: dict[str, Any]
    """What `footwork.json` holds; its `forecast` is what to expect on new images."""
    classifier: TaughtClassifier
    lesson: Lesson
    suggestions: tuple[Suggestion, ...]
    """Which images to label next, the most telling first."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[SkippedImage, ...]

    def to_text(self) -> str:
        """What to expect of it, and what to label next, for people."""
        counts = self.manifest["data"]["examples"]
        title = METHODS[self.manifest["method"]].title
        lines = [
            f"{self.folder} was taught {len(counts)} classes by {sum(counts.values())} images: "
            f"{title}.",
            forecast_text(self.manifest["forecast"], self.manifest["thresholds"], "images"),
        ]
        if self.suggestions:
            lines.append("Label these next:")
            lines.extend(f"  {next_one.path}: {next_one.reason}" for next_one in self.suggestions)
        return "\n".join(lines)


def teach(
    examples: Path | str,
    out: Path | str,
    model_id: str = DEFAULT_MODEL,
    options: TeachOptions = DEFAULTS,
    *,
    revision: str | None = None,
    overwrite: bool = False,
) -> TaughtRun:
    """Teach a classifier by examples and publish it as a folder.

    Args:
        examples: A folder with one sub-folder a class.
        out: The folder to publish.
        model_id: Hub id, local folder, preset or `tiny`.
        options: How it is taught.
        revision: Branch, tag or commit of the model on the Hub.
        overwrite: Replace `out` if it exists.

    Raises:
        ConfigError: `out` exists, or a setting is wrong.
        DataError: There is nothing to learn from.
        ModelError: The model cannot be loaded.
    """
    require_free(Path(out), overwrite, (examples, model_id, *options.unlabelled))
    images = read_examples(Path(examples))  # before a model is loaded in vain
    from footwork.encoder.dual import DualEncoder

    encoder = DualEncoder.load(model_id, revision)
    return teach_files(encoder, images, Path(out), options, overwrite=overwrite)


def teach_files(
    encoder: ImageTextEncoder,
    images: LabelledImages,
    out: Path,
    options: TeachOptions,
    *,
    overwrite: bool = False,
    crew: ProcessGroup | None = None,
) -> TaughtRun:
    """Teach a classifier on the embeddings of a model that is loaded.

    Args:
        encoder: Embeds images and class names.
        images: The examples.
        out: The folder to publish.
        options: How it is taught.
        overwrite: Replace `out` if it exists.
        crew: The processes that teach it together, of which one writes; None takes those that were
            launched.

    Raises:
        ConfigError: `out` exists, or a setting is wrong.
        DataError: There is nothing to learn from.
    """
    rows, kept, skipped = embed_files(encoder, images.paths)
    _require_every_class(images, kept, skipped)
    examples = Examples(rows, images.targets[kept], len(images.class_names))
    words, notes = None, images.notes
    if options.words != 0.0:
        names = [spoken(name) for name in images.class_names]
        embedded = embed_labels(encoder, names, label_prompts(encoder, options.templates))
        words = Words(embedded.classes, embedded.references, encoder.logit_scale)
        notes += embedded.notes
    lesson = learn(examples, words, options)
    files = [f"{path.parent.name}/{path.name}" for path in map(images.paths.__getitem__, kept)]
    notes += lesson_notes(lesson, images.class_names, files, options, "image")
    manifest = _manifest(encoder, images, lesson, options)
    classifier = TaughtClassifier(lesson.knowledge, manifest, lesson.thresholds, encoder)
    suggestions, not_read = _suggestions(classifier, encoder, rows, options)
    manifest["label_next"] = [
        {"path": str(next_one.path), "reason": next_one.reason} for next_one in suggestions
    ]
    crew = launched_processes() if crew is None else crew
    if crew.is_main:
        with published_folder(out, overwrite) as folder:
            classifier.save(folder)
    crew.from_main(None)  # none goes on before it is there
    return TaughtRun(out, manifest, classifier, lesson, suggestions, notes, (*skipped, *not_read))


def _require_every_class(
    images: LabelledImages, kept: list[int], skipped: tuple[SkippedImage, ...]
) -> None:
    counts = np.bincount(images.targets[kept], minlength=len(images.class_names))
    for number in np.nonzero(counts == 0)[0].tolist():
        first = path_text(images.paths[int((images.targets == number).argmax())])
        reason = next(skip.reason for skip in skipped if skip.place == first)
        raise DataError(
            f"No image of the class {images.class_names[number]!r} can be read: {first}: {reason}. "
            "Replace it, or remove the class."
        )


def _suggestions(
    classifier: TaughtClassifier,
    encoder: ImageTextEncoder,
    examples: FloatArray,
    options: TeachOptions,
) -> tuple[tuple[Suggestion, ...], tuple[SkippedImage, ...]]:
    if not options.unlabelled:
        return (), ()
    paths = find_images(options.unlabelled).paths
    rows, kept, skipped = embed_files(encoder, paths)
    if not kept:
        return (), skipped
    new = (rows @ examples.T).max(axis=1) <= SAME_COSINE
    rows, numbers = rows[new], np.array(kept)[new].tolist()
    answers = classifier.answers(rows)
    familiar_from = classifier.thresholds.familiar_from
    unfamiliar = answers.familiarities < (-np.inf if familiar_from is None else familiar_from)
    candidates = Candidates(rows, answers.probabilities, unfamiliar)
    chosen = suggest(candidates, examples, classifier.labels, options.suggestions)
    return tuple(Suggestion(paths[numbers[row]], reason) for row, reason in chosen), skipped


def _manifest(
    encoder: ImageTextEncoder, images: LabelledImages, lesson: Lesson, options: TeachOptions
) -> dict[str, Any]:
    rows = np.ascontiguousarray(lesson.examples.embeddings, dtype="<f4")
    counts = zip(images.class_names, lesson.examples.counts.tolist(), strict=True)
    return {
        "footwork": version("footwork"),
        "application": APPLICATION,
        "labels": list(images.class_names),
        "method": options.method,
        "model": {
            "id": encoder.model_id,
            "revision": getattr(encoder, "revision", None),
            "fingerprint": encoder.fingerprint,
        },
        "data": {
            "path": images.source,
            "examples": dict(counts),
            "embeddings_sha256": sha256(rows.tobytes()).hexdigest(),
        },
        "forecast": lesson.forecast(images.class_names),
        "knowledge": knowledge_manifest(options.method, lesson.knowledge),
        "thresholds": asdict(lesson.thresholds),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        "seed": options.seed,
        "options": options.to_dict(),
    }
