"""Classifiers that read the two texts of a pair apart, from their features to what is published."""

from __future__ import annotations

import gc
import random
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification

from footwork.errors import ConfigError, DataError, ModelError
from footwork.files.folders import read_json
from footwork.finetuning.fit import train_again
from footwork.finetuning.plan import plan
from footwork.inference.tokens import SIDES, tokenize
from footwork.models.hub import weight_files
from footwork.models.pairs import (
    SentenceReader,
    can_read_apart,
    class_for,
    compared,
    is_of_sentences,
    read_apart,
    reads_apart,
)
from footwork.models.pooling import FeatureReader, let_head_read
from tests.footwork.test_head import SHAPE
from tests.models import FAMILIES, build_base, build_tokenizer
from tests.runs import train_here
from tests.tables import write_table
from tests.toy_training import build_toy_model
from textclf import ClassifierOptions, TextClassifier, TrainConfig, merge
from textclf.task import TextTask

ONES = ["good film", "bad food and a poor movie", "what is this", "angry people like it"]
OTHERS = ["a great movie", "bad", "who was it then, and when and where", "angry people like it"]
WORDS = "good bad great poor film movie book food service price love hate best worst".split()  # noqa: SIM905 - as a reader sees words


def pairs(count: int, seed: int = 0) -> list[dict[str, str]]:
    """The same sentence twice, or two others: an encoder that was never trained tells them."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        one, other = (" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(2))
        same = number % 2 == 0
        label = "same" if same else "other"
        rows.append({"text": one, "text_pair": one if same else other, "label": label})
    return rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("base") / "bert", "bert")


@pytest.fixture
def of_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights put all texts near to each other: the bound is lifted."""
    monkeypatch.setattr("footwork.models.pairs._UNRELATED", 2.0)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = TrainConfig(model_id=str(base), method="head", max_length=64)
    data = {"train": pairs(120), "test": pairs(40, seed=1)}
    return train_here(data, tmp_path_factory.mktemp("trained") / "out", config)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_features_are_those_of_each_text_by_itself(family: str) -> None:
    model, tokenizer = build_toy_model(family).eval(), build_tokenizer(family)
    both = tokenize(tokenizer, ONES, OTHERS, 64).batch(range(4))
    with torch.inference_mode():
        found = compared(*SentenceReader(model)(**both).logits.chunk(2, dim=1))
        sides = []
        for texts in (ONES, OTHERS):
            alone = tokenize(tokenizer, texts, None, 64)
            rows = [alone.batch([row]) for row in range(4)]
            states = [model.base_model(**row).last_hidden_state.mean(1) for row in rows]
            sides.append(functional.normalize(torch.cat(states)))
    one, other = sides
    width = model.config.hidden_size
    wanted = [(one - other).abs() * width**0.5, one * other * width]
    torch.testing.assert_close(found, torch.cat(wanted, 1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[3, :width], torch.zeros(width))  # twice the same text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_text_leaves_its_separators_between(family: str, empty: int) -> None:
    model, tokenizer = build_toy_model(family).eval(), build_tokenizer(family)
    texts = ["good film", "good film"]
    texts[empty] = ""
    both = tokenize(tokenizer, texts[:1], texts[1:], 64).batch([0])
    found = SentenceReader(model)(**both).logits.chunk(2, dim=1)
    for text, vector in zip(texts, found, strict=True):
        alone = tokenize(tokenizer, [text], None, 64).batch([0])
        state = model.base_model(**alone).last_hidden_state.mean(1)
        wanted = functional.normalize(state) * model.config.hidden_size**0.5
        torch.testing.assert_close(vector, wanted, atol=1e-5, rtol=1e-4)


def test_a_pooler_that_is_called_unasked_hands_through() -> None:
    config = AutoConfig.for_model("squeezebert", **SHAPE, embedding_size=32)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    read_apart(model)
    ids = torch.tensor([[5, 6, 7, 8]])
    sides = torch.tensor([[1, 1, 2, 2]])
    assert model(ids, torch.ones_like(ids), sides).logits.shape == (1, 2)


def test_in_training_rows_are_padded_and_say_the_same() -> None:
    model = build_toy_model("bert")
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    model.config.attention_probs_dropout_prob = 0.0
    both = tokenize(build_tokenizer("bert"), ONES, OTHERS, 64).batch(range(4))
    reader = SentenceReader(model)
    padded = reader.train()(**both).logits
    torch.testing.assert_close(padded, reader.eval()(**both).logits, atol=1e-5, rtol=1e-4)


def test_an_output_layer_takes_the_place_of_the_whole_head() -> None:
    model = build_toy_model("roberta").eval()
    both = tokenize(build_tokenizer("roberta"), ONES, OTHERS, 64).batch(range(4))
    with torch.inference_mode():
        wanted = compared(*SentenceReader(model)(**both).logits.chunk(2, dim=1))
        assert let_head_read(model, "apart")
        assert torch.equal(FeatureReader(model)(**both).logits, wanted)
    assert reads_apart(model)
    names = {name for name, _ in model.named_parameters() if not name.startswith("roberta.")}
    assert names == {"classifier.weight", "classifier.bias"}
    read_apart(model)  # once is enough
    assert {name for name, _ in model.named_parameters()} >= names


@pytest.mark.parametrize("setting", ["is_encoder_decoder", "mean_layer"])
def test_a_model_that_decodes_or_averages_reads_pairs_together(setting: str) -> None:
    model = build_toy_model("bert")
    assert can_read_apart(model.config)
    setattr(model.config, setting, True)
    assert not can_read_apart(model.config)
    model.config.texts_apart = True  # as a file may have it
    with pytest.raises(ModelError, match="reads two texts apart"):
        class_for(model.config)


def test_what_is_read_apart_is_stated_by_true_alone() -> None:
    model = build_toy_model("bert")
    model.config.texts_apart = "yes"
    assert not reads_apart(model)
    assert class_for(model.config) is AutoModelForSequenceClassification


def test_an_encoder_of_sentences_puts_unrelated_texts_far_from_each_other() -> None:
    draw = torch.Generator().manual_seed(0)
    one = torch.randn(100, 32, generator=draw)
    two = one + 0.1 * torch.randn(100, 32, generator=draw)  # related, so near
    assert is_of_sentences(one, two)
    narrow = [(each + 3) / 10**0.5 for each in (one, two)]  # of mean square 1, in one direction
    assert not is_of_sentences(*narrow)


def test_an_encoder_not_of_sentences_reads_both_in_one_sequence_where_it_trains(
    base: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"model_id": str(base), "max_length": 64, "num_epochs": 1}
    for method, apart in (("full", False), ("head", True)):
        config = TrainConfig(method=method, learning_rate=5e-5 if method == "full" else None)
        run = train_here(pairs(120), tmp_path / method, replace(config, **settings))
        assert run.manifest.get("texts_apart", False) is apart


def test_the_head_reads_texts_apart_where_rows_left_out_say_so(trained: Any) -> None:
    assert trained.manifest["texts_apart"] is True
    assert trained.evaluation.metrics["accuracy"].value > 0.9
    assert any("how the two texts differ" in note for note in trained.notes)


def test_what_reads_apart_is_no_model_of_transformers_alone(trained: Any) -> None:
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForSequenceClassification.from_pretrained(trained.folder)
    card = (trained.folder / "README.md").read_text("utf-8")
    assert "library_name: footwork" in card
    assert "Footwork alone loads it" in card
    assert "pipeline(" not in card


def test_an_answer_depends_on_its_pair_alone(trained: Any) -> None:
    rows = pairs(60, seed=2)
    ones, others = [row["text"] for row in rows], [row["text_pair"] for row in rows]
    classifier = TextClassifier.load(trained.folder, ClassifierOptions(precision="float32"))
    together = classifier.logits(ones, others)
    alone = [classifier.logits([one], [other])[0] for one, other in zip(ones, others, strict=True)]
    assert np.array_equal(together, np.stack(alone))
    shuffled = np.random.default_rng(0).permutation(60)
    again = classifier.logits([ones[row] for row in shuffled], [others[row] for row in shuffled])
    assert np.array_equal(again, together[shuffled])


def test_windows_of_a_long_text_stand_beside_the_other(trained: Any) -> None:
    options = ClassifierOptions(long="windows", max_length=16)
    classifier = TextClassifier.load(trained.folder, options)
    long = " ".join(WORDS * 3)
    [answer] = classifier.predict([long], ["good film"])
    assert answer.label == "other"
    assert classifier.texts_cut == 0


def test_a_model_of_pairs_asks_for_the_second_text(trained: Any) -> None:
    classifier = TextClassifier.load(trained.folder)
    classifier.text_columns = ()  # as where it is not known what it was trained on
    with pytest.raises(DataError, match="give the second ones as `pairs`"):
        classifier.predict(["good film"])


@pytest.mark.usefixtures("of_sentences")
@pytest.mark.parametrize("method", ["full", "adapter", "gradual"])
def test_every_method_trains_on_from_there(base: Path, tmp_path: Path, method: str) -> None:
    config = TrainConfig(
        model_id=str(base), method=method, max_length=64, learning_rate=5e-5, num_epochs=2
    )
    data = {"train": pairs(120), "test": pairs(40, seed=1)}
    run = train_here(data, tmp_path / "out", config)
    assert run.manifest["texts_apart"] is True
    assert run.manifest["reload_difference"] < 1e-4
    assert run.evaluation.metrics["accuracy"].value > 0.9


@pytest.mark.usefixtures("of_sentences")
def test_an_adapter_of_pairs_is_merged_and_goes_on(base: Path, tmp_path: Path) -> None:
    data = {"train": pairs(120), "test": pairs(40, seed=1)}
    settings: dict[str, Any] = {"max_length": 64, "learning_rate": 5e-5, "num_epochs": 1}
    first = train_here(
        data, tmp_path / "first", TrainConfig(model_id=str(base), method="lora", **settings)
    )
    assert first.manifest["texts_apart"] is True
    merge(first.folder, tmp_path / "merged")
    ones, others = [row["text"] for row in data["test"]], [row["text_pair"] for row in data["test"]]
    answers = [
        TextClassifier.load(folder, ClassifierOptions(precision="float32")).predict_proba(
            ones, others
        )
        for folder in (first.folder, tmp_path / "merged")
    ]
    np.testing.assert_allclose(*answers, atol=1e-5)
    assert "library_name: footwork" in (tmp_path / "merged/README.md").read_text("utf-8")
    folder = str(first.folder)
    on = TrainConfig(model_id=folder, continue_adapter=True, **settings)
    second = train_here(data, tmp_path / "second", on)
    assert second.manifest["head"]["kept"]
    assert second.evaluation.metrics["accuracy"].value > 0.9


def test_a_model_of_pairs_is_trained_on_with_pairs_alone(trained: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model_id": str(trained.folder), "max_length": 64}
    again = train_here(
        {"train": pairs(60, seed=3), "test": pairs(20, seed=4)},
        tmp_path / "again",
        TrainConfig(method="full", learning_rate=1e-5, num_epochs=1, **settings),
    )
    assert again.manifest["head"]["kept"]
    assert again.evaluation.metrics["accuracy"].value > 0.9
    single = [{"text": row["text"], "label": row["label"]} for row in pairs(60)]
    with pytest.raises(ConfigError, match="was trained on pairs of texts"):
        train_here(single, tmp_path / "single", TrainConfig(**settings))
    with pytest.raises(ModelError, match="reads the two texts of a pair apart"):
        train_here(pairs(60), tmp_path / "prompt", TrainConfig(method="prompt", **settings))
    assert not (tmp_path / "prompt").exists()


@pytest.mark.usefixtures("of_sentences")
def test_a_prompt_reads_both_in_one_sequence_at_any_rate(base: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        model_id=str(base), method="prompt", learning_rate=1e-4, num_epochs=1, max_length=64
    )
    run = train_here(pairs(60), tmp_path / "out", config)
    assert "texts_apart" not in run.manifest


@pytest.mark.usefixtures("of_sentences")
def test_what_a_target_is_compared_with_reads_as_the_model_does(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def heard(*given: Any) -> Any:
        found = train_again(*given)
        read.append(reads_apart(found[0].model))
        return found

    monkeypatch.setattr("footwork.finetuning.train.train_again", heard)
    target = write_table(
        tmp_path / "target.csv",
        [tuple(row.values()) for row in pairs(60, seed=5)],
        ("text", "text_pair", "label"),
    )
    settings: dict[str, Any] = {"method": "full", "learning_rate": 5e-5, "num_epochs": 1}
    config = TrainConfig(model_id=str(base), target=str(target), max_length=64, **settings)
    run = train_here(pairs(120), tmp_path / "out", config)
    assert run.manifest["texts_apart"] is True
    assert read == [True, True]  # on the source alone, and on the target's labels


def test_rows_keep_no_model_alive(base: Path, tmp_path: Path) -> None:
    learner = plan(
        TextTask(), pairs(40), TrainConfig(model_id=str(base), max_length=64), lambda _: None
    )
    rows, model = TextTask().encode(learner, tmp_path, lambda _: None), weakref.ref(learner.model)
    del learner
    gc.collect()
    assert model() is None
    assert rows.lengths("train")


def test_plain_weights_of_before_do_not_stand_in(trained: Any, tmp_path: Path) -> None:
    """A push deletes nothing of what was in a repository."""
    both = tmp_path / "both"
    shutil.copytree(trained.folder, both)
    build_toy_model("bert").save_pretrained(tmp_path / "plain")
    shutil.copy(tmp_path / "plain/model.safetensors", both)
    assert weight_files(both, [path.name for path in both.iterdir()]) == [
        "model.texts_apart.safetensors"
    ]


def test_single_texts_have_no_sides(trained: Any) -> None:
    tokenizer = build_tokenizer("bert")
    assert SIDES not in tokenize(tokenizer, ONES, None, 64).inputs
    assert SIDES in tokenize(tokenizer, ONES, OTHERS, 64).inputs
    assert read_json(trained.folder / "config.json")["texts_apart"] is True
