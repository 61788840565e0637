"""`teach`: a folder with a few images a class in, a classifier with an honest forecast out.

Folder → embeddings → words → examples left out → head → forecast → suggestions → publish. The
folder that is named appears only when all of it has succeeded.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.errors import DataError
from footwork.fewshot.examples import SAME_COSINE, Examples
from footwork.fewshot.forecast import forecast_manifest, forecast_text
from footwork.fewshot.knowledge import embed_words, knowledge_manifest
from footwork.fewshot.lesson import Lesson, learn, lesson_notes
from footwork.fewshot.methods import METHOD
from footwork.fewshot.options import TeachOptions
from footwork.fewshot.suggestions import Candidates, Suggestion, suggest
from footwork.files.folders import published_folder, require_free
from footwork.images.finding import find_images
from footwork.prompts.labels import ImageTextEncoder
from search.update.processes import ProcessGroup, launched_processes
from zeroshot.classifier import DEFAULT_MODEL
from zeroshot.labelled_images import ExampleFiles, read_examples
from zeroshot.taught import APPLICATION, TaughtClassifier

DEFAULTS = TeachOptions()
LIBRARIES = ("footwork", "numpy", "torch", "transformers", "scikit-learn", "safetensors")


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """A file that was left out."""

    path: Path
    reason: str
    """A clause such as "it is truncated"."""


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
        title = METHOD[self.manifest["method"]].title
        lines = [
            f"{self.folder} was taught {len(counts)} classes by {sum(counts.values())} images: "
            f"{title}.",
            forecast_text(self.manifest["forecast"], self.manifest["thresholds"]),
        ]
        if self.suggestions:
            lines.append("Label these next:")
            lines.extend(f"  {one.path}: {one.reason}" for one in self.suggestions)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Embedded:
    """Files that could be read, and those that could not."""

    paths: tuple[Path, ...]
    rows: NDArray[np.float32]
    """Shape (N, D), unit rows."""
    kept: NDArray[np.bool_]
    """Which of the files were read, in their order."""
    skipped: tuple[SkippedImage, ...]


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
    files = read_examples(Path(examples))  # before a model is loaded in vain
    from footwork.encoder.dual import DualEncoder

    encoder = DualEncoder.load(model_id, revision)
    return teach_files(encoder, files, Path(out), options, overwrite=overwrite)


def teach_files(
    encoder: ImageTextEncoder,
    files: ExampleFiles,
    out: Path,
    options: TeachOptions,
    *,
    overwrite: bool = False,
    crew: ProcessGroup | None = None,
) -> TaughtRun:
    """Teach a classifier on the embeddings of a model that is loaded.

    Args:
        encoder: Embeds images and class names.
        files: The examples.
        out: The folder to publish.
        options: How it is taught.
        overwrite: Replace `out` if it exists.
        crew: The processes that teach it together, of which one writes; None takes those that were
            launched.

    Raises:
        ConfigError: `out` exists, or a setting is wrong.
        DataError: There is nothing to learn from.
    """
    embedded = _embed(encoder, files.paths)
    examples = _examples(files, embedded)
    words, notes = None, files.notes
    if options.words != 0.0:
        words, said = embed_words(encoder, files.class_names, options.templates)
        notes = (*notes, *said)
    lesson = learn(examples, words, options)
    names = [f"{path.parent.name}/{path.name}" for path in embedded.paths]
    notes = (*notes, *lesson_notes(lesson, files.class_names, names, options))
    manifest = _manifest(encoder, files, lesson, options)
    classifier = TaughtClassifier(lesson.knowledge, manifest, lesson.thresholds, encoder)
    suggestions, more = _suggestions(classifier, encoder, embedded, options)
    next_ones = [{"path": str(one.path), "reason": one.reason} for one in suggestions]
    manifest["label_next"] = next_ones
    crew = launched_processes() if crew is None else crew
    if crew.is_main:
        _publish(classifier, out, overwrite=overwrite)
    crew.from_main(None)  # none goes on before it is there
    skipped = (*embedded.skipped, *more)
    return TaughtRun(out, manifest, classifier, lesson, suggestions, notes, skipped)


def _embed(encoder: ImageTextEncoder, paths: Iterable[Path]) -> Embedded:
    found = list(encoder.encode_files(paths))
    rows = [one.embedding for one in found if one.embedding is not None]
    kept = [one.embedding is not None for one in found]
    return Embedded(
        tuple(one.path for one in found if one.embedding is not None),
        np.stack(rows) if rows else np.zeros((0, encoder.width), np.float32),
        np.array(kept, dtype=bool),
        tuple(SkippedImage(one.path, one.fault or "") for one in found if one.embedding is None),
    )


def _examples(files: ExampleFiles, embedded: Embedded) -> Examples:
    labels = files.labels[embedded.kept]
    examples = Examples(embedded.rows, labels, len(files.class_names))
    for number in np.nonzero(examples.counts == 0)[0].tolist():
        paths = [p for p, label in zip(files.paths, files.labels, strict=True) if label == number]
        first = next(one for one in embedded.skipped if one.path in paths)
        raise DataError(
            f"No image of the class {files.class_names[number]!r} can be read: {first.path}: "
            f"{first.reason}. Replace it, or remove the class."
        )
    return examples


def _suggestions(
    classifier: TaughtClassifier,
    encoder: ImageTextEncoder,
    embedded: Embedded,
    options: TeachOptions,
) -> tuple[tuple[Suggestion, ...], tuple[SkippedImage, ...]]:
    if not options.unlabelled:
        return (), ()
    found = _embed(encoder, find_images(options.unlabelled).paths)
    new = (found.rows @ embedded.rows.T).max(axis=1, initial=-1.0) <= SAME_COSINE
    rows = found.rows[new]
    answers = classifier.answers(rows)
    bar = classifier.thresholds.familiar_from
    candidates = Candidates(
        [path for path, fresh in zip(found.paths, new, strict=True) if fresh],
        rows,
        answers.probabilities,
        answers.familiarities < (-np.inf if bar is None else bar),
    )
    chosen = suggest(candidates, embedded.rows, classifier.labels, options.suggestions)
    return chosen, found.skipped


def _manifest(
    encoder: ImageTextEncoder, files: ExampleFiles, lesson: Lesson, options: TeachOptions
) -> dict[str, Any]:
    rows = np.ascontiguousarray(lesson.examples.embeddings, dtype="<f4")
    counts = zip(files.class_names, lesson.examples.counts.tolist(), strict=True)
    bars = lesson.thresholds
    return {
        "footwork": version("footwork"),
        "application": APPLICATION,
        "labels": list(files.class_names),
        "method": options.method,
        "model": {
            "id": getattr(encoder, "model_id", None),
            "revision": getattr(encoder, "revision", None),
            "fingerprint": encoder.fingerprint,
        },
        "data": {
            "path": str(files.folder),
            "examples": dict(counts),
            "embeddings_sha256": sha256(rows.tobytes()).hexdigest(),
        },
        "forecast": forecast_manifest(lesson, files.class_names),
        "knowledge": knowledge_manifest(options.method, lesson.knowledge),
        "thresholds": {"abstain_below": bars.abstain_below, "familiar_from": bars.familiar_from},
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        "seed": options.seed,
        "options": options.to_dict(),
    }


def _publish(classifier: TaughtClassifier, out: Path, *, overwrite: bool) -> None:
    with published_folder(out, overwrite) as folder:
        classifier.save(folder)
