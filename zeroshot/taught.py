"""`teach`: a folder with a few images a class in, a classifier with an honest forecast out.

Folder → embeddings → words → examples left out → head → forecast → suggestions → publish. The
folder that is named appears only when all of it has succeeded.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, RealArray
from footwork.console import heard
from footwork.encoder.protocol import ImageTextEncoder
from footwork.errors import ConfigError, ModelError, require_one_of
from footwork.evaluation.text import Shown
from footwork.fewshot.examples import SAME_COSINE, Examples
from footwork.fewshot.forecast import Candidates, forecast_text, suggest
from footwork.fewshot.knowledge import (
    Answers,
    Knowledge,
    Lesson,
    Thresholds,
    Words,
    knowledge_manifest,
    learn,
    lesson_notes,
    read_knowledge,
    save_knowledge,
)
from footwork.fewshot.methods import METHODS
from footwork.files.folders import (
    MANIFEST,
    published_folder,
    require_free,
    write_json,
)
from footwork.images.finding import FoundImages, find_images
from footwork.images.held import ImagesLike
from footwork.options import DEFAULT_IMAGE_MODEL, EncoderConfig, decoding_of
from footwork.processes import launched_processes
from footwork.prompts.class_embeddings import embed_labels
from footwork.prompts.templates import spoken
from footwork.settings import require_kind
from footwork.tables.held import data_name
from zeroshot.classifier import (
    TEACH,
    ImageEncoder,
    VectorLabeller,
    label_prompts,
    open_encoder,
    published_by,
)
from zeroshot.labelled_images import (
    LabelledImages,
    SkippedImage,
    embed_files,
    embeddings_hash,
    lacks_images,
    read_examples,
    without_folder,
)
from zeroshot.options import ModelOptions, TeachOptions
from zeroshot.rows import LabelledImage, labels_given

DEFAULTS = TeachOptions()
LIBRARIES = ("footwork", "numpy", "torch", "transformers", "scikit-learn", "safetensors")


@dataclass(frozen=True, slots=True)
class TaughtImage(LabelledImage):
    """The answer for one image; `z_score` is left open."""

    familiarity: float | None = None
    """How like the examples it is: 0 is usual, less is stranger."""
    doubt: str | None = None
    """Why no label is given: `unsure` between classes, or `unfamiliar` to all of them."""


class TaughtClassifier(VectorLabeller[TaughtImage]):
    """Labels images as it was taught, on embeddings of one encoder alone.

    `encoder` embeds files; None loads the model that the manifest names when it is needed.
    """

    answer = TaughtImage
    together = 64
    chunk = 4096

    def __init__(
        self,
        knowledge: Knowledge,
        manifest: dict[str, Any],
        thresholds: Thresholds,
        encoder: ImageTextEncoder | None = None,
    ) -> None:
        self.knowledge = knowledge
        self.manifest = manifest
        self.thresholds = thresholds
        self._labels = tuple(manifest["labels"])
        self.width = knowledge.familiarity.middle.shape[0]
        self.model_id: str = manifest["model"]["id"]
        self.revision: str | None = manifest["model"]["revision"]
        self.decode = decoding_of(manifest["model"]["fingerprint"])
        """How its examples were decoded, and images are."""
        self.config = EncoderConfig(decode=self.decode)
        """How the model is run that is loaded when it is needed."""
        self._encoder = encoder
        if encoder is not None:
            self.require_encoder(encoder)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        encoder: ImageTextEncoder | None = None,
        abstain_below: float | None = None,
        config: EncoderConfig | None = None,
        *,
        revision: str | None = None,
    ) -> TaughtClassifier:
        """Load what `teach` published, a folder or the Hub id (owner/name) that it was pushed to.

        Where no encoder is given the model that the folder names is loaded when it is needed, and
        run as `config` says. No label is given below the probability `abstain_below`: None takes
        what was calibrated, 0 withholds none as unsure. What is unfamiliar gets none either way.

        Raises:
            ConfigError: A setting is wrong, or another decoding than that of its examples.
            ModelError: The folder is none of `teach`, is damaged, or was taught with another
                encoder.
        """
        require_kind("encoder", encoder, ImageTextEncoder | None)
        require_kind("abstain_below", abstain_below, float | None)
        how = EncoderConfig.given("config", config)
        if encoder is not None and config is not None:
            raise ConfigError("`config` is for loading an encoder, and one is given. Take either.")
        folder, manifest = published_by(TEACH, folder, revision)
        try:
            knowledge = read_knowledge(folder, manifest["knowledge"])
            taught = cls(knowledge, manifest, Thresholds(**manifest["thresholds"]), encoder)
            list(taught.label_embeddings(knowledge.familiarity.middle[None]))
        except ModelError:
            raise
        except Exception as error:
            message = f"{folder} cannot be used: {type(error).__name__}: {error}. Teach it again."
            raise ModelError(message) from error
        if abstain_below is not None:
            taught.thresholds = replace(taught.thresholds, abstain_below=abstain_below)
        taught.config = how.decoding_as(taught.decode, f"What was taught in {folder}")
        taught.origin = folder.absolute(), None, abstain_below, config
        return taught

    def save(self, folder: Path) -> None:
        """Write weights and manifest into a folder that exists."""
        save_knowledge(folder, self.knowledge)
        write_json(folder / MANIFEST, self.manifest)

    def require_encoder(self, encoder: ImageTextEncoder) -> None:
        """Refuse an encoder whose embeddings are not those of the examples: a `ModelError`."""
        taught = self.manifest["model"]["fingerprint"]
        if encoder.fingerprint != taught:
            raise ModelError(
                f"This classifier was taught on embeddings of {self.model_id} ({taught}), but the "
                f"images are embedded by {encoder.model_id} ({encoder.fingerprint}). Use the "
                "first, or teach again with the second."
            )

    @property
    def vectors(self) -> ImageEncoder:
        """As `encoder`."""
        return self.encoder

    @property
    def encoder(self) -> ImageTextEncoder:
        """Embeds files; a `ModelError` where it cannot be loaded, or has changed."""
        if self._encoder is None:
            from footwork.encoder.dual import DualEncoder

            loaded = DualEncoder(self.model_id, self.revision, self.config)
            self.require_encoder(loaded)
            self._encoder = loaded
        return self._encoder

    def predict_proba(self, images: ImagesLike) -> DoubleArray:
        """Calibrated probabilities, (N, C), of N images as `predict` takes them."""
        return self.answers(self.encoder.encode_images(images)).probabilities

    def answers(self, embeddings: RealArray) -> Answers:
        """Judge embeddings, (N, D), unit rows, of the encoder it was taught with."""
        self._require_width(embeddings)
        return self.knowledge.answers(embeddings)

    def _answers(self, rows: RealArray, paths: Sequence[Path | None]) -> Iterator[TaughtImage]:
        found, thresholds = self.knowledge.answers(rows), self.thresholds
        every = zip(paths, found.probabilities.tolist(), found.familiarities.tolist(), strict=True)
        for path, probabilities, familiarity in every:
            best, doubt = max(probabilities), None
            if thresholds.familiar_from is not None and familiarity < thresholds.familiar_from:
                doubt = "unfamiliar"
            elif thresholds.abstain_below is not None and best < thresholds.abstain_below:
                doubt = "unsure"
            given = [] if doubt else [(self.labels[probabilities.index(best)], best)]
            scores = dict(zip(self.labels, probabilities, strict=True))
            yield TaughtImage(
                path,
                score=best,
                scores=scores,
                familiarity=familiarity,
                doubt=doubt,
                **labels_given(given),
            )


def open_taught(
    folder: Path,
    model: ModelOptions,
    abstain_below: float | None = None,
    encoder: ImageTextEncoder | None = None,
) -> TaughtClassifier:
    """Load a taught classifier and the model that it was taught with, unless `encoder` is that.

    `abstain_below` is the probability below which no label is given; None takes the folder's.

    Raises:
        ConfigError: Another decoding than that of its examples is asked for.
        ModelError: The folder is none of `teach`, or the model cannot be loaded or is another.
    """
    taught = TaughtClassifier.load(folder, None, abstain_below, model)
    model = replace(model, decode=taught.decode)
    if encoder is None:
        named = replace(model, model_id=taught.model_id, revision=taught.revision)
        encoder = open_encoder(named if model.model_id is None else model)
    return TaughtClassifier(taught.knowledge, taught.manifest, taught.thresholds, encoder)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image whose label would teach much."""

    path: Path
    reason: str
    """A clause."""


@dataclass(frozen=True, slots=True, repr=False)
class TaughtRun(Shown):
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

    @property
    def summary(self) -> str:
        """What was taught by what."""
        counts, title = self.manifest["data"]["examples"], METHODS[self.manifest["method"]].title
        by = f"by {sum(counts.values())} images: {title}"
        return f"{self.folder} was taught {len(counts)} classes {by}."

    def to_text(self) -> str:
        """What to expect of it, and what to label next, for people."""
        lines = [
            self.summary,
            forecast_text(self.manifest["forecast"], self.manifest["thresholds"], "images"),
        ]
        if self.suggestions:
            lines.append("Label these next:")
            lines.extend(f"  {each.path}: {each.reason}" for each in self.suggestions)
        return "\n".join(lines)


def teach(  # noqa: PLR0913 - the door for callers in Python
    examples: Any,
    out: Path | str,
    model_id: str = DEFAULT_IMAGE_MODEL,
    options: TeachOptions = DEFAULTS,
    *,
    config: EncoderConfig | None = None,
    revision: str | None = None,
    existing: Literal["refuse", "overwrite"] = "refuse",
    verbose: bool = True,
) -> TaughtRun:
    """Teach a classifier by a few images a class, and publish it as `out`.

    `examples` are what `finetune` takes, with one label an image; of several splits the train is
    taught. `config` says how the model is run, `revision` is a branch, tag or commit of it,
    `existing` says what is done where `out` is there, `verbose` whether a terminal or notebook
    shows how far it is.

    Raises:
        ConfigError: `out` exists, or a setting is wrong.
        DataError: There is nothing to learn from.
        ModelError: The model cannot be loaded.
    """
    require_kind("model_id", model_id, str)
    options, how = TeachOptions.given("options", options), EncoderConfig.given("config", config)
    require_one_of("existing", existing, ("refuse", "overwrite"))
    overwrite = existing == "overwrite"
    require_free(Path(out), overwrite, (data_name(examples), model_id, *options.unlabelled))
    with TemporaryDirectory(prefix="footwork-") as files, heard(None, verbose=verbose):
        place = Path(files)
        images = read_examples(examples, place)  # before a model is loaded in vain
        from footwork.encoder.dual import DualEncoder

        encoder = DualEncoder(model_id, revision, how)
        done = teach_files(encoder, images, Path(out), options, overwrite=overwrite, files=place)
        done.classifier.origin = done.folder.absolute(), None, None, config
    return done


def teach_files(
    encoder: ImageTextEncoder,
    images: LabelledImages,
    out: Path,
    options: TeachOptions,
    *,
    overwrite: bool = False,
    files: Path | None = None,
) -> TaughtRun:
    """Teach a classifier on the embeddings of a model that is loaded.

    Of the processes that were launched, which teach it together, one writes. Images in `files` are
    told as images in memory.

    Raises:
        ConfigError: `out` exists, or a setting is wrong.
        DataError: There is nothing to learn from.
    """
    # Found before the work, which would be in vain.
    unlabelled = find_images(options.unlabelled) if options.unlabelled else FoundImages((), ())
    rows, kept, skipped = embed_files(encoder, images.paths)
    skipped, lost = without_folder(skipped, files), np.delete(images.targets, kept)
    counts = np.bincount(images.targets[kept], minlength=len(images.class_names))
    for number in np.flatnonzero(counts == 0).tolist():
        own = [skip for skip, target in zip(skipped, lost, strict=True) if target == number]
        raise lacks_images(images.class_names[number], own or images.skipped)
    examples = Examples(rows, images.targets[kept], len(images.class_names))
    words, notes = None, (*images.notes, *unlabelled.remarks)
    if options.words != 0.0:
        names = [spoken(name) for name in images.class_names]
        embedded = embed_labels(encoder, names, label_prompts(encoder, options.templates))
        words = Words(embedded.classes, embedded.references, encoder.logit_scale)
        notes += embedded.notes
    lesson = learn(examples, words, options)
    names = [
        path.name if path.parent == files else f"{path.parent.name}/{path.name}"
        for path in map(images.paths.__getitem__, kept)
    ]
    notes += lesson_notes(lesson, images.class_names, names, options, "image")
    manifest = _manifest(encoder, images, lesson, options)
    classifier = TaughtClassifier(lesson.knowledge, manifest, lesson.thresholds, encoder)
    suggestions, not_read = _suggestions(classifier, unlabelled.paths, rows, options)
    manifest["label_next"] = [asdict(each) | {"path": str(each.path)} for each in suggestions]
    crew = launched_processes()
    if crew.is_main:
        with published_folder(out, overwrite) as folder:
            classifier.save(folder)
    crew.from_main(None)  # none goes on before it is there
    classifier.origin = (out.absolute(),)
    skipped = (*images.skipped, *skipped, *not_read)
    return TaughtRun(out, manifest, classifier, lesson, suggestions, notes, skipped)


def _suggestions(
    classifier: TaughtClassifier,
    paths: Sequence[Path],
    examples: FloatArray,
    options: TeachOptions,
) -> tuple[tuple[Suggestion, ...], tuple[SkippedImage, ...]]:
    if not paths:
        return (), ()
    rows, kept, skipped = embed_files(classifier.encoder, paths)
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
    counts = zip(images.class_names, lesson.examples.counts.tolist(), strict=True)
    return {
        "footwork": version("footwork"),
        "application": TEACH,
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
            "embeddings_sha256": embeddings_hash(lesson.examples.embeddings),
        },
        "forecast": lesson.forecast(images.class_names),
        "knowledge": knowledge_manifest(options.method, lesson.knowledge),
        "thresholds": asdict(lesson.thresholds),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        "seed": options.seed,
        "options": options.to_dict(),
    }
