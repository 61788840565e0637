"""A trained classifier: load it, ask it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from footwork.arrays import FloatArray, RealArray
from footwork.console import is_watched, watched
from footwork.errors import (
    ConfigError,
    DataError,
    ModelError,
    require_at_least,
    require_probability,
)
from footwork.evaluation.decision import DecisionRule, Prediction, Predictions, rule_of
from footwork.help_page import METHOD, SPEED
from footwork.inference.tokens import (
    held_texts,
    require_several,
)
from footwork.options import Device, Precision, require_device
from footwork.reloaded import Reloaded
from footwork.settings import Settings
from textclf.data import lacks_text
from textclf.windows import LongTexts, TextEncoder, TextPair, WindowedTexts

if TYPE_CHECKING:
    from footwork.finetuning.train import TrainedRun
    from footwork.inference.rounding import RoundingError
    from textclf.linear import LinearModel

_UNSTATED_MAX_LENGTH = 512


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(Settings):
    """How a classifier answers; None takes what it was trained with."""

    max_length: Annotated[int | None, METHOD] = None
    """Longest input, in tokens; if not given, that of the training."""
    long: Annotated[LongTexts, METHOD] = "truncate"
    """What is done with longer texts: truncate keeps the beginning, windows averages over windows
    that slide along the text."""
    overlap: Annotated[int | None, METHOD] = None
    """Tokens that neighbouring windows share; if not given, a quarter of the longest input."""
    abstain_below: Annotated[float | None, METHOD] = None
    """Probability of the answer below which it is marked as abstained; if not given, what was
    calibrated; 0 never abstains."""
    precision: Annotated[Precision, SPEED] = "auto"
    """Dtype of matrix products; auto: bf16 where it is quick and its error was measured when the
    model was published, and close calls again in float32."""
    batch_tokens: Annotated[int | None, SPEED] = None
    """Padded tokens a batch; if not given, what suits the device."""
    look_ahead: Annotated[int, SPEED] = 2048
    """Rows of a stream that are read and sorted by length together."""
    device: Device = None
    """cpu, cuda, cuda:1, mps; if not given, the accelerator where there is one."""

    def __post_init__(self) -> None:  # the rest depends on the model
        super().__post_init__()
        require_at_least(1, self, "max_length", "batch_tokens", "look_ahead")
        require_device(self.device)
        require_probability("abstain_below", self.abstain_below)
        if self.overlap is not None and self.long != "windows":
            raise ConfigError("`overlap` is that of windows. Add --long windows, or leave it out.")


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row to classify."""

    id: str
    text: str
    pair: str | None = None
    """The second text, for models of pairs."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What is to stand beside the answer."""


def row_prediction(rule: DecisionRule, row: TextRow, logits: FloatArray) -> Prediction:
    """The answer that logits (C,) are to a row."""
    [answer] = rule.predictions([row.id], logits[None])
    empty = lacks_text(row.text, row.pair)
    return replace(answer, abstained=answer.abstained or empty, kept=row.kept)


class TextClassifier(Reloaded):
    """A fine-tuned text classifier, ready to answer.

    Args:
        model: A sequence-classification model of transformers or an adapter of peft over one.
        tokenizer: Its fast tokenizer.
        rule: What its logits mean.
        options: How it answers; `max_length` must be stated.
        error: Of the model in bf16, if it was measured; else `auto` means float32.
    """

    texts_cut = 0
    """Texts that lost tokens to `max_length` so far."""
    text_columns: tuple[str, ...] = ()
    """Columns of the table that it was trained on; empty where that is not known."""
    label_column: str | None = None
    """Of that table, as `StatedColumns.label`; None where it is not known."""
    trained_on: Mapping[str, Any] = MappingProxyType({})
    """What the manifest says of it."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        rule: DecisionRule,
        options: ClassifierOptions,
        error: RoundingError | None = None,
    ) -> None:
        from footwork.inference.sequences import InferenceConfig, SequenceModel
        from footwork.models.checkpoints import position_limit
        from footwork.models.pairs import reads_apart

        if options.max_length is None:
            raise ValueError("`max_length` must be stated.")
        limit = position_limit(model)
        if limit is not None and options.max_length > limit:
            raise ConfigError(
                f"`max_length` must be at most {limit}, the positions of this model, "
                f"got {options.max_length}."
            )
        self.rule, self.long = rule, options.long
        long, overlap, apart = options.long, options.overlap, reads_apart(model)
        self._encoder = TextEncoder(tokenizer, options.max_length, long, overlap, sides=apart)
        self._config = InferenceConfig(
            precision=options.precision,
            batch_tokens=options.batch_tokens,
            look_ahead=options.look_ahead,
            device=options.device,
        )
        self._model = SequenceModel(model, self._config, error)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        options: ClassifierOptions | None = None,
        *,
        revision: str | None = None,
    ) -> TextClassifier:
        """Load a trained classifier: an adapter, a plain one, or a plain one made elsewhere.

        `folder` may be a Hub id (owner/name) that it was pushed to, `revision` a commit there.

        Raises:
            ModelError: It holds no classifier, or its base cannot be reached.
            ConfigError: An option does not fit the model.
        """
        from footwork.files.folders import read_manifest
        from footwork.models.hub import trained_folder
        from textclf.linear import VOCABULARY

        options = ClassifierOptions.given("options", options)
        folder = trained_folder(folder, revision)
        manifest = read_manifest(folder)
        kind = LinearClassifier if (folder / VOCABULARY).exists() else cls
        classifier = kind._open(folder, manifest, options)
        if options.abstain_below and not classifier.labels:
            raise ConfigError(
                "`abstain_below` is a probability; a regression has none. Leave it out."
            )
        if options.abstain_below is not None:
            bar = options.abstain_below or None
            classifier.rule = replace(classifier.rule, abstain_below=bar)
        classifier.origin = folder.absolute(), options
        data = manifest.get("data")
        if isinstance(data, Mapping):
            columns, label = data.get("text_columns"), data.get("label_column")
            classifier.text_columns = tuple(map(str, columns if isinstance(columns, list) else ()))
            classifier.label_column = label if isinstance(label, str) else None
            classifier.trained_on = data
        return classifier

    @classmethod
    def _open(
        cls, folder: Path, manifest: Mapping[str, Any], options: ClassifierOptions
    ) -> TextClassifier:
        """What a folder of this kind holds; `manifest` is empty where Footwork did not make it."""
        from footwork.inference.rounding import published_error
        from footwork.methods.adaptation import adaptation_of
        from footwork.models.checkpoints import load_trained, position_limit

        model, tokenizer = load_trained(folder)
        rule, usual = rule_of(manifest, model.config), manifest.get("max_length")
        if not isinstance(usual, int):
            limits = (_UNSTATED_MAX_LENGTH, tokenizer.model_max_length, position_limit(model))
            usual = int(min(limit for limit in limits if limit is not None))
        options = replace(options, max_length=options.max_length or usual)
        model = adaptation_of(model).merged(model)  # where its method can be
        return cls(model, tokenizer, rule, options, published_error(manifest, rule))

    @property
    def labels(self) -> tuple[str, ...]:
        """C names in the order of the logits; none for regression."""
        return self.rule.labels

    @property
    def task(self) -> str:
        """A `problem_type` of transformers."""
        return self.rule.task

    @property
    def max_length(self) -> int | None:
        """Longest sequence, in tokens; None of a linear model, which reads texts whole."""
        return self._encoder.max_length

    def logits(self, texts: Iterable[str], pairs: Iterable[str] | None = None) -> FloatArray:
        """What the model says, before the temperature; a TypeError where one is no text.

        Returns:
            Shape (N, C); (N, 1) for regression.
        """
        rows = [TextRow("", *both) for both in _text_pairs(texts, pairs)]
        answers = [logits for _, logits in self._answer(rows, soon=False)]
        width = max(len(self.labels), 1)
        return np.stack(answers) if answers else np.zeros((0, width), np.float32)

    def predict_proba(self, texts: Iterable[str], pairs: Iterable[str] | None = None) -> RealArray:
        """Calibrated probabilities: a softmax, or a sigmoid a label (multi-label).

        Returns:
            Shape (N, C).

        Raises:
            ConfigError: The model is a regression, which has none.
        """
        if not self.labels:
            raise ConfigError("A regression has no probabilities; use predict.")
        return self.rule.probabilities(self.logits(texts, pairs))

    def predict(
        self,
        texts: Iterable[str],
        pairs: Iterable[str] | None = None,
        ids: Iterable[Any] | None = None,
    ) -> Predictions:
        """Answer texts, in their order; ids default to the index, from 0.

        A `DataError` where there are not as many `pairs` or `ids` as texts, or the model takes
        pairs and gets none, or the other way round.
        """
        found = _text_pairs(texts, pairs)
        names = _as_many("ids", range(len(found)) if ids is None else ids, found)
        rows = [TextRow(str(name), *pair) for name, pair in zip(names, found, strict=True)]
        answered = self._answer(rows, soon=is_watched())
        shown = watched(answered, "predicting", "texts", len(rows))
        answers = (row_prediction(self.rule, row, logits) for row, logits in shown)
        return Predictions(answers, self.labels)

    def stream(self, rows: Iterable[TextRow | str]) -> Iterator[Prediction]:
        """Answer texts, or rows of `id`, `text` and `pair`, of any number in bounded memory."""
        require_several(rows, "rows")
        for row, logits in self._answer(map(_row, count(), rows), soon=True):
            yield row_prediction(self.rule, row, logits)

    def save(self, folder: Path | str, overwrite: bool = False) -> None:
        """Copy the folder that it was loaded from; `overwrite` replaces one that exists."""
        import shutil

        from footwork.files.folders import published_folder, require_free
        from footwork.models.checkpoints import with_bases

        if self.origin is None:
            raise ModelError("This classifier was not loaded from a folder; save its model.")
        require_free(Path(folder), overwrite, with_bases(self.origin[0]))
        with published_folder(Path(folder), overwrite) as staging:
            shutil.copytree(self.origin[0], staging, dirs_exist_ok=True)

    def _answer(
        self, rows: Iterable[TextRow], *, soon: bool
    ) -> Iterator[tuple[TextRow, FloatArray]]:
        """Rows with their logits, (C,); `soon` where the first ones are waited for."""
        from footwork.inference.sequences import FIRST_WINDOW, encoded_ahead, windows_of

        def size(row: TextRow) -> int:
            return len(row.text) + len(row.pair or "")

        def encode(rows: list[TextRow]) -> WindowedTexts:
            return self._encoder.encode([(row.text, row.pair) for row in rows])

        first = FIRST_WINDOW if soon else self._config.look_ahead
        windows = windows_of(map(self._fitting, rows), self._config, size, first)
        for window, encoded in encoded_ahead(windows, encode):
            self.texts_cut += int(encoded.cut.sum())
            yield from zip(window, self._run(encoded), strict=True)

    def _fitting(self, row: TextRow) -> TextRow:
        """The row, if it has as many texts as the model was trained on."""
        wanted, columns = len(self.text_columns), ", ".join(self.text_columns)
        if wanted == 1 and row.pair is not None:
            raise DataError(f"The model takes single texts ({columns}): leave `pairs` out.")
        if wanted == 2 and row.pair is None:
            raise DataError(
                f"The model takes pairs of texts ({columns}): give the second ones as `pairs`."
            )
        return row

    def _run(self, encoded: WindowedTexts) -> FloatArray:
        def closeness(logits: FloatArray) -> RealArray:
            return np.repeat(self.rule.closeness(encoded.pooled(logits)), encoded.counts)

        return encoded.pooled(self._model.logits(encoded.sequences, closeness))


class LinearClassifier(TextClassifier):
    """A linear model, ready to answer; it reads texts whole, and knows no tokens."""

    max_length = None

    def __init__(self, model: LinearModel, rule: DecisionRule) -> None:
        self.rule = rule
        self._linear = model

    @classmethod
    def _open(
        cls, folder: Path, manifest: Mapping[str, Any], options: ClassifierOptions
    ) -> LinearClassifier:
        if (options.max_length, options.long, options.overlap) != (None, "truncate", None):
            raise ConfigError(
                f"{folder} is a linear model on TF-IDF, which reads texts whole: `max_length`, "
                "`long` and `overlap` mean nothing to it. Leave them out."
            )
        from footwork.files.folders import MANIFEST
        from textclf.linear import LinearModel

        if not manifest:
            raise ModelError(f"{folder} lacks {MANIFEST}, which names its labels. Copy it again.")
        model = LinearModel.load(folder)
        return cls(model, rule_of(manifest, model))

    def _answer(
        self, rows: Iterable[TextRow], *, soon: bool
    ) -> Iterator[tuple[TextRow, FloatArray]]:
        del soon  # each row is answered as it comes
        for row in map(self._fitting, rows):
            pairs = None if row.pair is None else [row.pair]
            yield row, self._linear.logits([row.text], pairs)[0]


def opened_classifier(
    model: TextClassifier | TrainedRun | Path | str,
    options: ClassifierOptions | None = None,
    revision: str | None = None,
) -> TextClassifier:
    """A classifier that is loaded, that of a run, or of a folder or a Hub id.

    Raises:
        ConfigError: It is none, or `options` or `revision` are given with one that is loaded.
        ModelError: It cannot be loaded.
    """
    if isinstance(model, (str, Path)):
        return TextClassifier.load(model, options, revision=revision)
    model = getattr(model, "classifier", model)
    if not isinstance(model, TextClassifier):
        raise ConfigError(
            "What is asked must be a classifier of texts, a run that trained one, or its folder or "
            f"Hub id, got {type(model).__name__}. One of images has its own `predict`, and is "
            "judged by zeroshot.evaluate."
        )
    if (options or ClassifierOptions(), revision) != (ClassifierOptions(), None):
        raise ConfigError("`answering` and `revision` are for loading, and this one is loaded.")
    return model


def _text_pairs(texts: Iterable[str], pairs: Iterable[str] | None) -> list[TextPair]:
    first = held_texts(texts)
    if pairs is None:
        return [(text, None) for text in first]
    return list(zip(first, held_texts(_as_many("pairs", pairs, first), "pairs"), strict=True))


def _as_many(name: str, values: Iterable[Any], texts: Sequence[Any]) -> list[Any]:
    require_several(values, name)
    found = list(values)
    if len(found) != len(texts):
        raise DataError(
            f"`{name}` must be as many as `texts`: expected {len(texts)}, got {len(found)}."
        )
    return found


def _row(number: int, row: TextRow | str) -> TextRow:
    if not isinstance(row, (TextRow, str)):
        kind = type(row).__name__
        raise TypeError(f"A row must be a text or a TextRow, got {kind} at {number}.")
    return row if isinstance(row, TextRow) else TextRow(str(number), row)
