"""Texts as a task of fine-tuning: a table in, a classifier with proof out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import torch

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, DataError
from footwork.evaluation.result import Evaluation
from footwork.finetuning.card import PLACE, as_code
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import judge_majority
from footwork.finetuning.domains import TARGET
from footwork.finetuning.interface import Interface, function_of
from footwork.finetuning.task import CardWords, EncodedRows, Learner, Notify, Task, TaskOf
from footwork.finetuning.train import TrainedRun
from footwork.inference.sequences import InferenceConfig, SequenceModel
from footwork.inference.tokens import SIDES, Side, TokenizedTexts, room_for_texts, tokenize
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import methods_where
from footwork.models.checkpoints import (
    load_classifier,
    load_shape,
    load_tokenizer,
    load_trained,
    position_limit,
)
from footwork.models.heads import HeadOrigin
from footwork.models.hub import TEXT_PRESETS
from footwork.models.pairs import reads_apart
from footwork.models.pooling import READINGS
from footwork.options import Precision
from footwork.tables.labels import MULTI_LABEL, REGRESSION
from footwork.training.memory import pruned_vocabulary
from textclf import baselines
from textclf.audit.audit import Audit, audit_data
from textclf.audit.model import AuditedModel, size_of
from textclf.config import TrainConfig
from textclf.data import Examples, TextData, load_data, text_groups
from textclf.linear import REGULARISATION, RIDGE, VOCABULARY, WEIGHTS, LinearModel, fit_linear
from textclf.target import with_target

if TYPE_CHECKING:
    from textclf.classifier import TextClassifier

__all__ = ["TextTask", "TrainedRun", "advise", "compare", "merge", "train"]


class TokenizedRows(EncodedRows):
    """Texts as token ids."""

    data: TextData
    has_linear = True

    def __init__(self, learner: Learner) -> None:
        super().__init__(learner.data)
        config = cast("TrainConfig", learner.config)
        # Alone: rows outlive the models that they are given to.
        self.config = getattr(learner.model, "config", None)
        parts = self.data.splits.values()
        texts = [text for part in parts for text in part.texts]
        pairs = [pair for part in parts for pair in part.pairs or ()] or None
        self._sided = tokenize(learner.preparation, texts, pairs, config.max_length)
        self._texts = self._sided.without_sides()
        self.groups = text_groups(texts, pairs)

    def for_learner(self, learner: Learner) -> Self:
        """The same texts, as another model takes them."""
        changed = copy(self)
        changed.config = getattr(learner.model, "config", None)
        return changed

    def inputs(self, split: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Token ids and their mask."""
        return self._taken_by(self).batch(self.numbers(split, rows))

    def lengths(self, split: str) -> Sequence[int]:
        """Tokens of the texts."""
        lengths = self._texts.lengths
        return [lengths[number] for number in self.places[split]]

    @property
    def pad(self) -> Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]]:
        """With the tokenizer's padding."""
        return self._taken_by(self).widen

    def _taken_by(self, model: Any) -> TokenizedTexts:
        return self._sided if reads_apart(model) else self._texts

    def slimmed(self, model: Any, splits: Collection[str]) -> AbstractContextManager[Any]:
        """Without the embeddings of tokens that occur in none of the texts."""
        every = self._texts.inputs["input_ids"]
        ids = [every[number] for split in splits for number in self.places[split]]
        used = np.unique(np.concatenate([*ids, [self._texts.pad["input_ids"]]])).astype(np.int64)
        return pruned_vocabulary(model, torch.from_numpy(used))

    def logits(self, model: Any, split: str, rows: Sequence[int], precision: str) -> FloatArray:
        """By batches of like length; one at a time, for beside a training memory is scarce."""
        kind = cast("Precision", precision)
        frugal = InferenceConfig(precision=kind, workers=1, packed=False)
        texts = self._taken_by(model).take(self.numbers(split, rows))
        return SequenceModel(model, frugal).logits(texts)

    def baselines(self, split: str, notify: Notify) -> dict[str, Evaluation]:
        """The commonest answer, and TF-IDF with a linear model."""
        notify("fitting the baselines; training is done and kept, --resume would go on from here")
        return baselines.fit_baselines(self.data, split)

    def unpretrained(self, known: Sequence[int], asked: Sequence[int]) -> FloatArray:
        """TF-IDF with a linear model."""
        return baselines.fit_and_answer(self.data, known, asked)

    def question(self, split: str, rows: range) -> Any:
        """The texts themselves."""
        part: Examples = self.data.splits[split]
        chosen = slice(rows.start, rows.stop)
        pairs = None if part.pairs is None else part.pairs[chosen]
        return {"texts": part.texts[chosen], "pairs": pairs}


def tell_audit(audit: Audit, notify: Notify) -> tuple[str, ...]:
    """Show an audit, and give its warnings; a `DataError` where it found errors."""
    notify(audit.to_text())
    said = {
        severity: tuple(each.message for each in audit.findings if each.severity == severity)
        for severity in ("error", "warning")
    }
    if not audit.usable:
        raise DataError(
            f"The audit found what makes training impossible. {' '.join(said['error'])}"
        )
    return said["warning"]


class TextTask(Task):
    """Texts, or pairs of them, that have a class, several labels, or an amount."""

    application = "textclf"
    command = ("footwork", "textclf", "train")
    kind = "text"
    presets = TEXT_PRESETS
    readings = READINGS
    baseline_words: ClassVar = {"majority": "commonest answer", "linear": "TF-IDF + linear model"}
    rivals: ClassVar = {"linear": "the linear baseline"}
    suffices: ClassVar = {
        "linear": "footwork textclf train DATA OUT --method "
        + methods_where(lambda _: True, has_model=False)
    }

    def open(self, config: TrainConfig) -> Any:
        """The tokenizer."""
        tokenizer = load_tokenizer(config.model_id, config.revision)
        room_for_texts(tokenizer, config.max_length)
        shape = load_shape(config.model_id, config.revision)
        require_adaptable(shape, config, checkpointing=config.activation_checkpointing)
        return tokenizer

    def read(self, source: Any, config: TrainConfig) -> TextData:
        """A table, a folder of tables, or a data set of the Hub; a target is a table."""
        data = load_data(source, config)
        return data if config.target is None else with_target(data, config.target, config)

    def load(self, config: TrainConfig, data: Any, preparation: Any) -> tuple[Any, HeadOrigin]:
        """A sequence classifier; one that compares two texts is trained on with pairs alone."""
        if not data.paired and reads_apart(load_shape(config.model_id, config.revision)):
            raise ConfigError(
                f"{config.model_id} was trained on pairs of texts, which it reads apart, and the "
                "rows have one text each. Name the model that it was trained from."
            )
        return load_classifier(
            config.model_id,
            labels=data.labels,
            task=data.task,
            revision=config.revision,
            unmerged=config.continue_adapter,
        )

    def encoder_size(self, model: Any) -> int:
        """Without the embeddings."""
        return size_of(model).encoder_parameters

    def settle(
        self, config: TrainConfig, preparation: Any, model: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The longest text: no longer than the positions of the model."""
        room_for_texts(preparation, config.max_length)
        return config.within(position_limit(model))

    def audit(self, learner: Learner, notify: Notify) -> tuple[str, ...]:
        """Tell what the texts and their labels are like; errors end the run here."""
        config, data = cast("TrainConfig", learner.config), cast("TextData", learner.data)
        model = AuditedModel.of(learner.model, learner.preparation)
        labelled = {name: part for name, part in data.splits.items() if name != TARGET}
        run, data = (model.size, config), replace(data, splits=labelled)
        return tell_audit(audit_data(data, model.vocabulary, config.max_length, run), notify)

    def encode(self, learner: Learner, run: Path, notify: Notify) -> TokenizedRows:
        """As token ids."""
        return TokenizedRows(learner)

    def load_trained(self, folder: Path) -> tuple[Any, Any]:
        """A sequence classifier and its tokenizer."""
        if (folder / VOCABULARY).exists():
            raise ConfigError(
                f"{folder} was made from no pretrained model, so it has nothing to merge. Use it "
                "as it is."
            )
        return load_trained(folder)

    def probe(self, model: Any, preparation: Any) -> torch.Tensor:
        """Of rows of tokens spread over the vocabulary."""
        size, pad = len(preparation), preparation.pad_token_id
        ids = torch.linspace(0, size - 1, 8 * 24, dtype=torch.float64).long().view(24, 8).T
        if pad is not None:
            ids = ids.masked_fill(ids == pad, (pad + 1) % size)
        asked = {"input_ids": ids.contiguous(), "attention_mask": torch.ones_like(ids)}
        if reads_apart(model):
            asked[SIDES] = torch.where(torch.arange(24) < 12, Side.FIRST, Side.SECOND).expand(8, -1)
        with torch.inference_mode():
            logits: torch.Tensor = model(**asked).logits
        return logits.float()

    def classifier(self, folder: Path, **options: Any) -> TextClassifier:
        """With its own settings, but for `options` of `ClassifierOptions`."""
        from textclf.classifier import ClassifierOptions, TextClassifier

        return TextClassifier.load(folder, ClassifierOptions(**options))

    def answer(self, folder: Path, question: Any, precision: Precision) -> FloatArray:
        """As `textclf predict` would answer."""
        classifier = self.classifier(folder, precision=precision)
        return classifier.logits(question["texts"], question["pairs"])

    def manifest(self, learner: Learner, data: Any) -> dict[str, Any]:
        """Where the texts and labels stood, how long a text may be, and how pairs are read."""
        facts = {"text_columns": list(data.text_columns), "label_column": data.label_column}
        length = cast("TrainConfig", learner.config).max_length
        apart = {"texts_apart": True} if reads_apart(learner.model) else {}
        return {"data": facts, "max_length": length, **apart}

    def words(self, manifest: Mapping[str, Any]) -> CardWords:
        """Of texts, or of pairs."""
        facts, length = manifest.get("data") or {}, manifest.get("max_length", 256)
        columns = [str(name) for name in facts.get("text_columns") or ()]
        pairs = len(columns) == 2
        named = " and ".join(f"`{as_code(name)}`" for name in columns) or "text"
        label = as_code(str(facts.get("label_column", "label")))
        apart = bool(manifest.get("texts_apart"))
        call = '["one text"], ["its pair"]' if pairs else '["one text", "another"]'
        text = '{"text": "one text", "text_pair": "its pair"}' if pairs else '"one text"'
        return CardWords(
            one="a pair of texts" if pairs else "a text",
            predict=f"footwork textclf predict {PLACE} texts.csv -o answers.csv",
            snippet="from textclf import TextClassifier\n\n"
            f'classifier = TextClassifier.load("{PLACE}")\n'
            f"for prediction in classifier.predict({call}):\n"
            "    print(prediction.label, prediction.probability)",
            asked="" if apart else f"{text}, top_k=None, truncation=True, max_length={length}",
            plain="Footwork alone loads it: it reads the two texts of a pair apart, and compares "
            "them, and transformers has no such classifier."
            if apart
            else "For a folder that needs nothing else, and that it does load: "
            f"`footwork textclf merge {PLACE} merged/`.",
            library="footwork" if apart else "transformers",
            measure=f"footwork textclf evaluate {PLACE} test.csv",
            facts=(f"Columns: {named}, label `{label}`",),
            limits=(
                f"Texts are cut at {length} tokens; `footwork textclf predict --long windows` "
                "reads longer ones piece by piece.",
                "It knows the language and the kind of text of its training rows. What it does on "
                "others was not measured.",
            ),
        )


class LinearRows(TokenizedRows):
    """Texts as they are, for a linear model, which divides them itself."""

    def __init__(self, learner: Learner) -> None:
        EncodedRows.__init__(self, learner.data)

    def logits(self, model: Any, split: str, rows: Sequence[int], precision: str) -> FloatArray:
        """Each text by itself, whatever the precision."""
        part: Examples = self.data.splits[split]
        pairs = None if part.pairs is None else [part.pairs[row] for row in rows]
        answers: FloatArray = model.logits([part.texts[row] for row in rows], pairs)
        return answers

    def baselines(self, split: str, notify: Notify) -> dict[str, Evaluation]:
        """The commonest answer; the other one is the model itself."""
        return {"majority": judge_majority(self.data, self.data.splits[split])}


class LinearTask(TextTask):
    """Texts for a linear model on TF-IDF: nothing is pretrained."""

    rivals: ClassVar = {"majority": "the commonest answer"}
    suffices: ClassVar = {}

    def open(self, config: TrainConfig) -> None:
        """Nothing: the model divides texts itself."""

    def load(self, config: TrainConfig, data: Any, preparation: Any) -> tuple[Any, HeadOrigin]:
        """No model; what is fitted is told in the place of where its head comes from."""
        several = " for each label" if data.task == MULTI_LABEL else ""
        what = f"a logistic regression{several}, its C fixed at {REGULARISATION:g}"
        if data.task == REGRESSION:
            what = f"a ridge regression, its alpha fixed at {RIDGE:g}"
        return None, HeadOrigin(kept=False, note=f"The linear model is {what}.")

    def settle(
        self, config: TrainConfig, preparation: Any, model: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Nothing is left open."""
        return {}, ()

    def audit(self, learner: Learner, notify: Notify) -> tuple[str, ...]:
        """As of all texts, but that there are no tokens to count."""
        return tell_audit(audit_data(cast("TextData", learner.data)), notify)

    def encode(self, learner: Learner, run: Path, notify: Notify) -> LinearRows:
        """As they are."""
        return LinearRows(learner)

    def fit(self, learner: Learner) -> LinearModel:
        """On all training rows, each read whole."""
        data = cast("TextData", learner.data)
        balanced = learner.config.class_weights == "balanced"
        return fit_linear(data.train, data.task, max(1, len(data.labels)), balanced=balanced)

    def answer(self, folder: Path, question: Any, precision: Precision) -> FloatArray:
        """As `textclf predict` would answer; there is nothing that bf16 would quicken."""
        if precision != "float32":
            raise ConfigError("A linear model knows no other precision than its own.")
        return super().answer(folder, question, precision)

    def manifest(self, learner: Learner, data: Any) -> dict[str, Any]:
        """Where the texts and labels stood."""
        return {"data": super().manifest(learner, data)["data"]}

    def words(self, manifest: Mapping[str, Any]) -> CardWords:
        """Of a model that Footwork alone loads."""
        return replace(
            super().words(manifest),
            asked="",
            library="footwork",
            made="a linear model on TF-IDF of words, pairs of words and pieces of words",
            plain=f"Footwork alone loads it, from `{VOCABULARY}` and `{WEIGHTS}`; torch and "
            "transformers are not needed.",
            limits=(
                "It counts words and pieces of words: what depends on word order or on meaning is "
                "beyond it. Texts are read whole.",
                f"Words and pairs of words of the training rows stand in `{VOCABULARY}`.",
                "What it does on texts of another kind or language was not measured.",
            ),
        )


def task_of(config: FinetuningConfig) -> TextTask:
    """The task of texts that reads for a method."""
    return TextTask() if config.method_row.has_model else LinearTask()


def _opened() -> AbstractContextManager[TaskOf]:
    return nullcontext(task_of)


INTERFACE = Interface(TrainConfig, _opened)
train = function_of(__name__, "train", INTERFACE.train)
compare = function_of(__name__, "compare", INTERFACE.compare)
advise = function_of(__name__, "advise", INTERFACE.advise)
merge = function_of(__name__, "merge", INTERFACE.merge)
