"""Speed of prediction on texts of mixed lengths, beside transformers' pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from scripts.benchmarks.figure import Figure
from scripts.benchmarks.material import SMALL, mixed_texts, save_classifier
from scripts.benchmarks.options import Options
from textclf.classifier import TextClassifier

TEXTS = 192
TARGETS = {1: ">= 5", 32: ">= 2"}


def measure_prediction(options: Options, folder: Path) -> Iterator[Figure]:
    """One model, one list of texts; loading and a warm-up are not timed."""
    texts = mixed_texts(TEXTS)
    model = save_classifier(folder / "answering", SMALL, ["a", "b"], options.tokenizer)
    spread_answers(model, texts)
    classifier = TextClassifier.load(model)
    before, answers = timed(classifier.predict, texts)
    own = [answer.label for answer in answers]
    peer = pipeline("text-classification", model=str(model))
    for batch_size, target in TARGETS.items():
        options_of_call = {} if batch_size == 1 else {"batch_size": batch_size}
        taken, answers = timed(lambda t, o=options_of_call: peer(t, **o), texts)
        after, _ = timed(classifier.predict, texts)
        seconds = (before + after) / 2  # other work on the machine comes and goes
        before = after
        same = np.mean([a["label"] == label for a, label in zip(answers, own, strict=True)])
        yield Figure(
            name=f"predict_vs_pipeline_{'default' if batch_size == 1 else batch_size}",
            value=len(texts) / seconds,
            unit="texts/s",
            ratio_to_peer=taken / seconds,
            peer=f"pipeline, batch_size={batch_size}: {len(texts) / taken:.2f} texts/s; "
            f"same label for {same:.1%}",
            target=target,
        )


def spread_answers(folder: Path, texts: list[str]) -> None:
    """Scale and centre the random head so that the labels depend on the text.

    Random weights answer every text nearly alike; the comparison of labels would be a comparison
    of rounding errors.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    sample = tokenizer(texts[:32], padding=True, return_tensors="pt")
    with torch.no_grad():
        margins = model(**sample).logits @ torch.tensor([-1.0, 1.0])
        scale = 2.0 / float(margins.std())
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale)[1] -= scale * float(margins.median())
    model.save_pretrained(folder)


def timed(predict: Callable[[list[str]], list[Any]], texts: list[str]) -> tuple[float, list[Any]]:
    predict(texts[:4])
    start = time.perf_counter()
    answers = predict(texts)
    return time.perf_counter() - start, answers
