"""Texts as a task of fine-tuning: a table in, a classifier with proof out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch

from footwork.arrays import FloatArray
from footwork.errors import DataError
from footwork.evaluation.result import Evaluation
from footwork.finetuning.card import PLACE
from footwork.finetuning.task import CardWords, EncodedRows, Learner, Notify, Task
from footwork.finetuning.train import TrainedRun
from footwork.finetuning.train import train as train_task
from footwork.inference.features import compute_features, head_only, require_features
from footwork.inference.sequences import InferenceConfig, SequenceModel
from footwork.inference.tokens import TokenizedTexts, room_for_texts, tokenize
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import METHODS
from footwork.models.checkpoints import (
    load_classifier,
    load_shape,
    load_tokenizer,
    load_trained,
    position_limit,
    token_table,
)
from footwork.models.heads import HeadOrigin
from footwork.models.hub import TEXT_PRESETS
from footwork.options import Precision
from footwork.training.memory import pruned_vocabulary
from footwork.training.run import Existing
from textclf.audit.audit import audit_data
from textclf.audit.model import AuditedModel
from textclf.baselines import fit_baselines
from textclf.config import TrainConfig
from textclf.data import Examples, LabelledData, load_data

__all__ = ["TextTask", "TrainedRun", "train"]


def train(
    data: Any,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    existing: Existing = "refuse",
    notify: Notify = lambda _: None,
) -> TrainedRun:
    """Train a text classifier and publish it as a folder.

    Args:
        data: A table, a folder of tables or a Hub data set id; or a table or splits in memory,
            as `textclf.sources.read_tables` takes them.
        out: The folder to publish; `out.training` beside it holds the checkpoints meanwhile.
        config: Every setting.
        existing: What to do where `out` or an unfinished run of it exists.
        notify: Takes progress and warnings, one text each.

    Raises:
        FootworkError: As `footwork.finetuning.train.train`.
    """
    config = config or TrainConfig()
    return train_task(TextTask(), data, out, config, existing=existing, notify=notify)


class TokenizedRows(EncodedRows):
    """Texts as token ids.

    Args:
        learner: Its tokenizer, and its data.
    """

    data: LabelledData

    def __init__(self, learner: Learner) -> None:
        super().__init__(learner.data)
        config = cast("TrainConfig", learner.config)
        self._texts: dict[str, TokenizedTexts] = {
            split: tokenize(learner.preparation, part.texts, part.pairs, config.max_length)
            for split, part in self.data.splits.items()
        }

    def inputs(self, split: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Token ids and their mask."""
        return self._texts[split].batch(rows)

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of the training texts."""
        return self._texts["train"].lengths

    @property
    def pad(self) -> Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]]:
        """With the tokenizer's padding."""
        return self._texts["train"].widen

    def slimmed(self, model: Any) -> AbstractContextManager[Any]:
        """Without the embeddings of tokens that occur in no text to train on or to choose by."""
        texts = [self._texts[split] for split in ("train", "validation")]
        ids = [np.unique(np.concatenate(each.inputs["input_ids"])) for each in texts]
        ids.append(np.array([each.pad["input_ids"] for each in texts]))
        used = np.unique(np.concatenate(ids)).astype(np.int64)
        return pruned_vocabulary(model, torch.from_numpy(used))

    def logits(self, model: Any, split: str, rows: range, precision: str) -> FloatArray:
        """By batches of like length; one at a time, for beside a training memory is scarce."""
        kind = cast("Precision", precision)
        frugal = InferenceConfig(precision=kind, workers=1, packed=False)
        return SequenceModel(model, frugal).logits(self._part(split, rows))

    def features(self, model: Any, split: str, rows: range, precision: str) -> torch.Tensor:
        """One pooled state a text, or two."""
        return compute_features(model, self._part(split, rows), cast("Precision", precision))

    def head_alone(self, model: Any) -> AbstractContextManager[torch.nn.Module]:
        """The model itself, something that knows the features in the place of its encoder."""
        return head_only(model)

    def head_inputs(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features where token ids would stand."""
        mask = torch.ones((len(features), 1), dtype=torch.long, device=features.device)
        return {"input_ids": features, "attention_mask": mask}

    def baselines(self, split: str, notify: Notify) -> dict[str, Evaluation]:
        """The commonest answer, and TF-IDF with a linear model."""
        notify("fitting the baselines; training is done and kept, --resume would go on from here")
        return fit_baselines(self.data, self.data.splits[split])

    def question(self, split: str, rows: range) -> Any:
        """The texts themselves."""
        part: Examples = self.data.splits[split]
        chosen = slice(rows.start, rows.stop)
        pairs = None if part.pairs is None else part.pairs[chosen]
        return {"texts": part.texts[chosen], "pairs": pairs}

    def _part(self, split: str, rows: range) -> TokenizedTexts:
        return self._texts[split].take(slice(rows.start, rows.stop))


class TextTask(Task):
    """Texts, or pairs of them, that have a class, several labels, or an amount."""

    application = "textclf"
    kind = "text"
    presets = TEXT_PRESETS
    baseline_words: ClassVar = {"majority": "commonest answer", "linear": "TF-IDF + linear model"}
    rivals: ClassVar = {"linear": "the linear baseline"}

    def open(self, config: TrainConfig) -> Any:
        """The tokenizer."""
        tokenizer = load_tokenizer(config.model_id, config.revision)
        room_for_texts(tokenizer, config.max_length)
        shape = load_shape(config.model_id, config.revision)
        require_adaptable(shape, config.method, checkpointing=config.activation_checkpointing)
        return tokenizer

    def read(self, source: Any, config: TrainConfig) -> LabelledData:
        """A table, a folder of tables, or a data set of the Hub."""
        return load_data(source, config)

    def load(self, config: TrainConfig, data: Any, preparation: Any) -> tuple[Any, HeadOrigin]:
        """A sequence classifier; of one whose head is to train alone it must read one state."""
        model, head = load_classifier(
            config.model_id, labels=data.labels, task=data.task, revision=config.revision
        )
        if METHODS[config.method].features_once:
            require_features(model, tokenize(preparation, ["One text."], None, config.max_length))
        return model, head

    def encoder_size(self, model: Any) -> int:
        """Without the embeddings."""
        table = token_table(model)
        tokens = 0 if table is None else sum(p.numel() for p in table.parameters())
        return sum(p.numel() for p in model.base_model.parameters()) - tokens

    def settle(
        self, config: TrainConfig, preparation: Any, model: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The longest text: no longer than the positions of the model."""
        room_for_texts(preparation, config.max_length)
        return config.within(position_limit(model))

    def audit(self, learner: Learner, notify: Notify) -> None:
        """Tell what the texts and their labels are like; errors end the run here."""
        config, data = cast("TrainConfig", learner.config), cast("LabelledData", learner.data)
        model = AuditedModel.of(learner.model, learner.preparation)
        audit = audit_data(data, model.vocabulary, config.max_length, (model.size, config))
        notify(audit.to_text())
        if not audit.usable:
            message = "The audit found what makes training impossible; see its errors above."
            raise DataError(message)

    def encode(self, learner: Learner, run: Path, notify: Notify) -> TokenizedRows:
        """As token ids."""
        return TokenizedRows(learner)

    def load_trained(self, folder: Path) -> tuple[Any, Any]:
        """A sequence classifier and its tokenizer."""
        return load_trained(folder)

    def probe(self, model: Any, preparation: Any) -> torch.Tensor:
        """Of rows of tokens spread over the vocabulary."""
        size, pad = len(preparation), preparation.pad_token_id
        ids = torch.linspace(0, size - 1, 8 * 24, dtype=torch.float64).long().view(24, 8).T
        if pad is not None:
            ids = ids.masked_fill(ids == pad, (pad + 1) % size)
        ids = ids.contiguous()
        with torch.inference_mode():
            logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return logits.float()

    def answer(self, folder: Path, question: Any, precision: Precision) -> FloatArray:
        """As `textclf predict` would answer."""
        from textclf.classifier import ClassifierOptions, TextClassifier

        classifier = TextClassifier.load(folder, ClassifierOptions(precision=precision))
        return classifier.logits(question["texts"], question["pairs"])

    def manifest(self, data: Any, config: TrainConfig) -> dict[str, Any]:
        """Where the texts and labels stood, and how long a text may be."""
        facts = {"text_columns": list(data.text_columns), "label_column": data.label_column}
        return {"data": facts, "max_length": config.max_length}

    def words(self, manifest: Mapping[str, Any]) -> CardWords:
        """Of texts, or of pairs."""
        facts, length = manifest.get("data") or {}, manifest.get("max_length", 256)
        columns = [str(name) for name in facts.get("text_columns") or ()]
        pairs = len(columns) == 2
        named = " and ".join(f"`{_code(name)}`" for name in columns) or "text"
        label = _code(str(facts.get("label_column", "label")))
        call = '["one text"], ["its pair"]' if pairs else '["one text", "another"]'
        text = '{"text": "one text", "text_pair": "its pair"}' if pairs else '"one text"'
        return CardWords(
            one="a pair of texts" if pairs else "a text",
            predict=f"footwork textclf predict {PLACE} texts.csv -o answers.csv",
            snippet="from textclf import TextClassifier\n\n"
            f'classifier = TextClassifier.load("{PLACE}")\n'
            f"for prediction in classifier.predict({call}):\n"
            "    print(prediction.label, prediction.probability)",
            asked=f"{text}, top_k=None, truncation=True, max_length={length}",
            plain="For a folder that needs nothing else, and that it does load: "
            f"`footwork textclf merge {PLACE} merged/`.",
            measure=f"footwork textclf evaluate {PLACE} test.csv",
            facts=(f"Columns: {named}, label `{label}`",),
            limits=(
                f"Texts are cut at {length} tokens; `footwork textclf predict --long windows` "
                "reads longer ones piece by piece.",
                "It knows the language and the kind of text of its training rows. What it does on "
                "others was not measured.",
            ),
        )


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
