"""A third task, of a page: rows of numbers that have a class, and a model of two layers.

What is here is all that fine-tuning needs to know of an application.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from footwork.arrays import FloatArray
from footwork.evaluation.result import Evaluation
from footwork.evaluation.splits import hold_out
from footwork.finetuning.card import PLACE
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import Inputs, LabelledData, judge_majority
from footwork.finetuning.interface import Interface
from footwork.finetuning.task import CardWords, EncodedRows, Learner, Task
from footwork.methods.rates import Recipe
from footwork.models.heads import HeadOrigin, set_labels
from footwork.tables.reader import read_table
from tests.tables import write_table

WIDTH = 4


class NumbersConfig(PreTrainedConfig):
    model_type = "numbers"


class NumbersClassifier(PreTrainedModel):
    config_class = NumbersConfig
    base_model_prefix = "encoder"

    def __init__(self, config: NumbersConfig) -> None:
        super().__init__(config)
        self.encoder = torch.nn.Sequential(torch.nn.Linear(WIDTH, 16), torch.nn.Tanh())
        self.classifier = torch.nn.Linear(16, config.num_labels)
        self.post_init()

    def forward(self, values: torch.Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(self.encoder(values)))


class Divisor:
    """What makes inputs of rows."""

    def __init__(self, divisor: float = 10.0) -> None:
        self.divisor = divisor

    def __call__(self, rows: Sequence[Sequence[float]]) -> dict[str, torch.Tensor]:
        return {"values": torch.tensor(rows, dtype=torch.float32) / self.divisor}

    def save_pretrained(self, folder: Path) -> None:
        (folder / "divisor.json").write_text(json.dumps(self.divisor))


class NumberRows(EncodedRows):
    def __init__(self, learner: Learner) -> None:
        super().__init__(learner.data)
        self.prepare = learner.preparation

    def inputs(self, split: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        return self.prepare([self.data.splits[split].inputs[row] for row in rows])

    def baselines(self, split: str, notify: Any) -> dict[str, Evaluation]:
        return {"majority": judge_majority(self.data, self.data.splits[split])}

    def question(self, split: str, rows: range) -> Any:
        return list(self.data.splits[split].inputs[rows.start : rows.stop])


class NumberTask(Task):
    application = "numbers"
    kind = "tabular"
    rivals: ClassVar = {"majority": "the commonest class"}

    def open(self, config: FinetuningConfig) -> Divisor:
        return Divisor()

    def read(self, source: str | Path, config: FinetuningConfig) -> LabelledData:
        table = Path(source)
        columns = dict(read_table(table).columns)
        names = sorted(set(columns["label"]))
        targets = np.array([names.index(label) for label in columns.pop("label")])
        rows = tuple(tuple(map(float, row)) for row in zip(*columns.values(), strict=True))
        held = hold_out(np.arange(len(rows)), targets, 0.25, config.seed)
        every = Inputs(rows, targets)
        return LabelledData(
            task="single_label_classification",
            labels=tuple(names),
            splits={"train": every.take(~held), "validation": every.take(held)},
            held_out=True,
            sha256=sha256(table.read_bytes()).hexdigest(),
        )

    def load(self, config: Any, data: Any, preparation: Any) -> tuple[Any, HeadOrigin]:
        shape = NumbersConfig.from_pretrained(config.model_id)
        set_labels(shape, data.labels, data.task)
        model = NumbersClassifier.from_pretrained(
            config.model_id, config=shape, ignore_mismatched_sizes=True
        )
        return model, HeadOrigin(kept=False)

    def recipe(self, config: Any, model: Any, rows: int) -> Recipe:
        return Recipe(3e-2, 20, "tried")

    def encode(self, learner: Learner, run: Path, notify: Any) -> NumberRows:
        return NumberRows(learner)

    def load_trained(self, folder: Path) -> tuple[Any, Divisor]:
        divisor = Divisor(json.loads((folder / "divisor.json").read_text()))
        return NumbersClassifier.from_pretrained(folder).eval(), divisor

    def probe(self, model: Any, preparation: Any) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.eye(8, WIDTH)).logits

    def answer(self, folder: Path, question: Any, precision: str) -> FloatArray:
        model, prepare = self.load_trained(folder)
        bf16 = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), bf16:
            return model(**prepare(question)).logits.float().numpy()

    def words(self, manifest: Mapping[str, Any]) -> CardWords:
        return CardWords(
            one="a row of numbers",
            predict=f"numbers predict {PLACE} rows.csv",
            snippet=f'model = NumbersClassifier.from_pretrained("{PLACE}")',
        )


def opened() -> Any:
    return nullcontext(lambda _: NumberTask())


NUMBERS = Interface(FinetuningConfig, opened)


def draw_numbers(folder: Path, rows: int) -> tuple[Path, str]:
    """A table that the task reads, and its base."""
    values = np.random.default_rng(0).normal(0, 10, (rows, WIDTH)).round(3)
    cells = [(*map(str, row), "up" if sum(row) > 0 else "down") for row in values.tolist()]
    torch.manual_seed(0)
    NumbersClassifier(NumbersConfig()).save_pretrained(folder / "base")
    table = write_table(folder / "rows.csv", cells, ("a", "b", "c", "d", "label"))
    return table, str(folder / "base")
