"""Texts and images as cases of one fine-tuning: what a law needs to be tried on either."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import footwork.finetuning.train as train_module
from footwork.arrays import FloatArray
from footwork.errors import ModelError
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.train import TrainedRun
from tests.models import build_base
from tests.runs import quick_ending
from tests.tables import sentiment_rows, sentiment_table
from tests.zeroshot.image_towers import QUICK, build_tower, draw_classes
from textclf import TextClassifier, TrainConfig, train
from textclf.classifier import ClassifierOptions
from zeroshot import FinetuneConfig, finetune
from zeroshot.finetuned import FinetunedClassifier
from zeroshot.options import FinetunedOptions


@dataclass(frozen=True)
class Case:
    """A task, and material for it."""

    family: str
    """Of the base that laws are tried on if they are not of families."""
    settings: dict[str, Any]
    """With which that base learns the material in seconds."""
    build: Callable[[Path, str], Path]
    write: Callable[[Path], Path]
    """The labelled rows below a folder."""
    configure: Callable[..., FinetuningConfig]
    train: Callable[..., TrainedRun]
    asked: Callable[[Path, Path, Any], tuple[Callable[[Sequence[Any]], FloatArray], Sequence[Any]]]
    """A trained folder and a precision → what gives logits, and rows of the material for it."""

    def logits(self, folder: Path, data: Path) -> FloatArray:
        """Of a trained folder for rows of the material, in float32."""
        logits, rows = self.asked(folder, data, "float32")
        return logits(rows)

    def config(self, base: Path | str, **settings: Any) -> Any:
        """Quick settings, changed."""
        return self.configure(model_id=str(base), **{**self.settings, **settings})

    def train_here(self, data: Path, out: Path, config: Any, **options: Any) -> TrainedRun:
        """As `train`, in a quarter of the time."""
        with quick_ending():
            return self.train(data, out, config, **options)


def _texts_asked(folder: Path, _: Path, precision: Any) -> Any:
    texts = [text for text, _ in sentiment_rows(8)]
    return TextClassifier.load(folder, ClassifierOptions(precision=precision)).logits, texts


def _images_asked(folder: Path, data: Path, precision: Any) -> Any:
    images = sorted((data / "navy").iterdir())
    return FinetunedClassifier.load(folder, FinetunedOptions(precision=precision)).logits, images


CASES = {
    "texts": Case(
        family="bert",
        settings={"num_epochs": 12, "learning_rate": 3e-3, "batch_size": 16, "max_length": 48},
        build=build_base,
        write=lambda folder: sentiment_table(folder / "data.csv"),
        configure=TrainConfig,
        train=train,
        asked=_texts_asked,
    ),
    "images": Case(
        family="vit",
        settings=QUICK,
        build=build_tower,
        write=lambda folder: draw_classes(folder / "data"),
        configure=FinetuneConfig,
        train=finetune,
        asked=_images_asked,
    ),
}


def kill_early(run: Path) -> None:
    """Leave of a run what it would have if it had been killed after its first epochs."""
    (run / "outcome.json").unlink()
    newest = sorted(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert len(newest) > 1
    shutil.rmtree(newest[-1])


@contextmanager
def stopped_before_writing() -> Iterator[None]:
    """Within the block a run fails when it is trained, and before anything of it is written."""
    failure = ModelError("stopped here")
    with (
        patch.object(train_module, "save_model", side_effect=failure),
        pytest.raises(ModelError, match="stopped here"),
    ):
        yield
