"""What an application brings to be fine-tuned: a task. All the rest of a run is `train`'s.

A task says how its rows are read and split (`read`), how rows become batches (`encode`), what is
saved beside the weights (`open`), what must be beaten (`EncodedRows.baselines`), how a fresh
process answers (`answer`), and how its card is worded. `tests/toy_task.py` is one of a page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from footwork.accelerator import shared_over_processes
from footwork.arrays import FloatArray, IntArray
from footwork.console import Notify as Notify
from footwork.evaluation.result import Evaluation
from footwork.evaluation.splits import StratifiedGroups, strata
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import LabelledData
from footwork.inference.halving import run_in_batches
from footwork.methods.head import LinearSolution
from footwork.methods.rates import Recipe, recipe_for
from footwork.models.heads import HeadOrigin, can_solve_output
from footwork.models.parts import encoder_of
from footwork.options import Precision


@dataclass(frozen=True, slots=True)
class Learner:
    """What is to be trained, every setting of it settled."""

    task: Task
    model: Any
    """A classifier of transformers; None where the method takes no pretrained model."""
    preparation: Any
    """What makes inputs of rows: a tokenizer, an image processor; None where the model does."""
    source: Any
    """The rows, as the user gave them: themselves, or by what they are called."""
    data: LabelledData
    config: FinetuningConfig
    config_sources: Mapping[str, str]
    """Of each setting that is no default, where its value comes from."""
    base_id: str
    """What an adapter names as its base; empty where the method takes no pretrained model."""
    revision: str | None
    """Commit of the base on the Hub."""
    head: HeadOrigin
    callbacks: tuple[Any, ...] = ()
    """The caller's, of transformers."""
    scale: tuple[float, float] | None = None
    """Mean and spread by which amounts are learned, a regression alone: its output layer gives
    (amount - mean) / spread until training is over."""

    def classifier_in(self, model: Any) -> Any:
        """The plain classifier in a trained model: a method may put something around it."""
        return model if isinstance(model, PreTrainedModel) else self.model

    def learned(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Targets of rows as the model learns them."""
        if self.scale is None:
            return targets
        mean, spread = self.scale
        return ((targets - mean) / spread).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWords:
    """What the card of a published folder says in words of the task's own; `PLACE` is the folder.

    Code is in Python, or a line of a shell.
    """

    one: str
    """What is classified: `a text`."""
    predict: str
    """Command that answers."""
    snippet: str
    """Code that loads the folder with Footwork, and asks it."""
    asked: str = ""
    """What a pipeline of transformers is asked: its arguments; empty where there is none."""
    plain: str = ""
    """Sentence on how to have a folder that needs no base; of a model that never had one, on what
    loads it."""
    made: str = ""
    """What it is, where it is no pretrained model that was trained on."""
    library: str = "transformers"
    """That loads it: `footwork` where nothing else does."""
    measure: str = ""
    """Command that measures it on other rows."""
    facts: tuple[str, ...] = ()
    """Of the data, a line each."""
    limits: tuple[str, ...] = ()
    """A line each."""


class EncodedRows(ABC):
    """The rows of a run as its model takes them: tokenised, or decoded.

    Args:
        data: What was encoded; rows that turned out to be unreadable are no more in it.
    """

    noun: ClassVar[str] = "row"
    has_linear: ClassVar[bool] = False
    """Whether there is a linear model that was never pretrained."""
    varies = False
    """Whether a training row is another one in every epoch."""
    solution: LinearSolution | None = None
    """The output layer as a run has solved it last, on what that of its model reads."""

    def __init__(self, data: LabelledData) -> None:
        self.data = data
        self.groups: IntArray = np.arange(sum(map(len, data.splits.values())))
        """Of all that were encoded, (M,), a number, the same for those whose inputs are equal."""
        self.features: dict[str, FloatArray] = {}
        """Of the splits that were read, what the output layer reads of all their rows, (N, D), in
        a run whose encoder stays as it is."""
        ends = accumulate(map(len, data.splits.values()))
        self.places: Mapping[str, Sequence[int]] = {
            split: range(end - len(part), end)
            for (split, part), end in zip(data.splits.items(), ends, strict=True)
        }
        """Of each split its rows' numbers among all that were encoded."""

    def numbers(self, split: str, rows: Sequence[int]) -> list[int]:
        """Of some rows their numbers among all that were encoded."""
        return [self.places[split][row] for row in rows]

    def alike(self, targets: NDArray[Any], numbers: Sequence[int]) -> StratifiedGroups:
        """What folds of some rows are made by, from their targets and `numbers`."""
        return StratifiedGroups(strata(targets, self.data.task), self.groups[numbers])

    def rearranged(self, data: LabelledData, places: Mapping[str, Sequence[int]]) -> Self:
        """The same rows in other splits: these `data`, found at these `places`."""
        changed = copy(self)
        changed.data, changed.places = data, places
        changed.solution, changed.features = None, {}
        return changed

    def begin(self, learner: Learner, notify: Notify) -> None:
        """Ask the pretrained model once what is wanted of it, before a training changes it."""

    def for_learner(self, learner: Learner) -> Self:
        """The same rows for another method or seed of the same model: nothing is encoded again."""
        return self

    @abstractmethod
    def inputs(self, split: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """What the model takes of some rows, (B, …) each."""

    def lengths(self, split: str) -> Sequence[int]:
        """Tokens of the rows; all alike where rows have no length."""
        return [1] * len(self.places[split])

    @property
    def pad(self) -> Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]] | None:
        """Pads a batch to so many tokens; None where rows have no length."""
        return None

    def training_batch(
        self, split: str, rows: Sequence[int], epoch: int
    ) -> dict[str, torch.Tensor]:
        """`inputs` to train on in an epoch, counted from 0, which may change them."""
        return self.inputs(split, rows)

    def slimmed(self, model: Any, splits: Collection[str]) -> AbstractContextManager[Any]:
        """Within the block the model is without what the rows of these splits never use."""
        return nullcontext()

    def logits(self, model: Any, split: str, rows: Sequence[int], precision: str) -> FloatArray:
        """What a model says of some rows on this process, (R, C)."""
        batch = partial(self.inputs, split)
        return run_in_batches(model, batch, self.lengths(split), precision, rows, self.noun)

    def baselines(self, split: str, notify: Notify) -> dict[str, Evaluation]:
        """What must be beaten on a split, by the names of `Task.rivals` and others."""
        return {}

    def unpretrained(self, known: Sequence[int], asked: Sequence[int]) -> FloatArray:
        """Logits, (R, C), of a linear model that was never pretrained, if it `has_linear`.

        Args:
            known: Training rows to fit it on.
            asked: Those to answer for.
        """
        raise NotImplementedError(type(self).__name__)

    @abstractmethod
    def question(self, split: str, rows: range) -> Any:
        """Some rows in what JSON can hold: what `Task.answer` is asked in a fresh process."""


class Task(ABC):
    """An application's part in fine-tuning."""

    application: ClassVar[str]
    """In the manifest, and the command's word."""
    command: ClassVar[tuple[str, ...]] = ()
    """Words of the command that fine-tunes."""
    kind: ClassVar[str]
    """Of the inputs: `text` or `image`, as transformers' pipelines, and the rates, call them."""
    noun: ClassVar[str] = "rows"
    presets: ClassVar[Mapping[str, str]] = {}
    """Short names of models."""
    baseline_words: ClassVar[Mapping[str, str]] = {}
    """Names of baselines → head of a column."""
    rivals: ClassVar[Mapping[str, str]] = {}
    """Names of the baselines that must be beaten → what they are called in a sentence."""
    readings: ClassVar[tuple[str, ...]] = ("own",)
    """What a head that trains alone may read, of `footwork.models.pooling.READINGS`."""
    suffices: ClassVar[Mapping[str, str]] = {}
    """Names of such baselines → command that trains one to be used."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Whose versions are told beside those that every run has."""

    @abstractmethod
    def open(self, config: Any) -> Any:
        """What makes inputs of rows, to be saved beside the weights.

        What the model cannot do whatever the rows are is refused here, before they are read.
        """

    @property
    def chooses_reading(self) -> bool:
        """Whether a head may read several things, of which the best is found."""
        return len(self.readings) > 1

    @abstractmethod
    def read(self, source: Any, config: Any) -> LabelledData:
        """The labelled rows, in splits; the rows of `config.target` as one of them, `target`."""

    @abstractmethod
    def load(self, config: Any, data: LabelledData, preparation: Any) -> tuple[Any, HeadOrigin]:
        """The pretrained encoder with a head for the labels, and where the head comes from."""

    def encoder_size(self, model: Any) -> int:
        """Parameters by which the rates go."""
        return sum(p.numel() for p in encoder_of(model).parameters())

    def recipe(self, config: Any, model: Any, rows: int) -> Recipe | None:
        """Rate and length of a training on so many rows, where the user leaves them open.

        None where the method takes no steps.
        """
        rates = config.method_row.rates.get(self.kind)
        if rates is None:
            return None
        begins_solved = config.method_row.pretrained and not self.chooses_reading
        size, solved = self.encoder_size(model), begins_solved and can_solve_output(model)
        own = config.learning_rate
        return recipe_for(rates, size, rows, config.batch_size, rate=own, solved=solved)

    def settle(
        self, config: Any, preparation: Any, model: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Settings that it leaves to the model, whose shape is enough, and what to say of them."""
        return {}, ()

    def audit(self, learner: Learner, notify: Notify) -> tuple[str, ...]:
        """Look the rows over before anything is written; refuses what cannot be learned from.

        Gives what whoever reads the figures should know, a sentence each.
        """
        return ()

    def fit(self, learner: Learner) -> Any:
        """The model of a method that takes no pretrained one, with `save_pretrained`."""
        raise NotImplementedError(learner.config.method)

    @abstractmethod
    def encode(self, learner: Learner, run: Path, notify: Notify) -> EncodedRows:
        """The rows as the model takes them; what is kept meanwhile goes into `run`."""

    @abstractmethod
    def load_trained(self, folder: Path) -> tuple[Any, Any]:
        """The model of a published folder, and what makes its inputs."""

    @abstractmethod
    def probe(self, model: Any, preparation: Any) -> torch.Tensor:
        """Logits, in float32, (8, C), of inputs that are always the same, to compare models by."""

    def classifier(self, folder: Path, **options: Any) -> Any:
        """What users load from a published folder; `options`: `precision` and `device`, say."""
        raise NotImplementedError(self.application)

    @abstractmethod
    def answer(self, folder: Path, question: Any, precision: Precision) -> FloatArray:
        """Logits of a published folder for `EncodedRows.question`, (N, C)."""

    def manifest(self, learner: Learner, data: LabelledData) -> dict[str, Any]:
        """Further keys of `footwork.json`; those of `data` are added to what stands there.

        `data` are the rows of the learner that could be read.
        """
        return {}

    @abstractmethod
    def words(self, manifest: Mapping[str, Any]) -> CardWords:
        """What the card says in the task's own words."""


TaskOf = Callable[[FinetuningConfig], Task]
"""Gives the task that reads for a configuration."""


def logits_of(
    rows: EncodedRows,
    model: Any,
    split: str,
    precision: str,
    chosen: Sequence[int] | None = None,
) -> FloatArray:
    """Logits of a split, or of the rows chosen, (N, C); each process does a share of it."""
    chosen = range(len(rows.data.splits[split])) if chosen is None else chosen
    return shared_over_processes(lambda own: rows.logits(model, split, own, precision), chosen)
