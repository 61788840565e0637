from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertModel, pipeline

import footwork.finetuning.fit as fit_module
import footwork.finetuning.head as head_module
from footwork.errors import ConfigError
from footwork.evaluation.splits import StratifiedGroups
from footwork.finetuning.task import logits_of
from footwork.inference.tokens import tokenize
from footwork.methods.adaptation import parameter_groups
from footwork.methods.head import STRENGTHS, held_out_loss, solve
from footwork.methods.prototypes import nearest_means
from footwork.models.pooling import FeatureReader, let_head_read
from footwork.training.job import is_better, row_loss
from tests.models import FAMILIES, build_base, build_tokenizer
from tests.runs import train_here
from tests.tables import write_table
from tests.toy_training import TASK, TEXTS, build_toy_model
from textclf import TextClassifier, TrainConfig, train
from textclf.audit.audit import audit_table

LOSS = row_loss(TASK)
SHAPE: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "pad_token_id": 0,
}


def built(model_type: str) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SHAPE)
    if model_type == "distilbert":
        config.n_layers, config.dim, config.hidden_dim, config.n_heads = 2, 32, 32, 2
    return AutoModelForSequenceClassification.from_config(config).eval()


def correlations(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    pairs = zip(one.numpy(), other.numpy(), strict=True)
    return [float(np.corrcoef(*pair)[0, 1]) for pair in pairs]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_told_to_reads_the_mean_whatever_is_beside_it_in_the_batch(family: str) -> None:
    model, texts = (
        build_toy_model(family).eval(),
        tokenize(build_tokenizer(family), TEXTS, None, 64),
    )
    batch = texts.batch(range(9))
    with torch.inference_mode():
        states = FeatureReader(model, states=True)(**batch).logits
        mean = states[:, -model.config.hidden_size :]
        assert let_head_read(model, "mean")
        read = FeatureReader(model)(**batch).logits
        alone = torch.cat([FeatureReader(model)(**texts.batch([row])).logits for row in range(9)])
    assert min(correlations(read, mean)) > 0.98  # an activation bends, and the first token is in it
    torch.testing.assert_close(alone, read, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_averages_is_an_ordinary_one_of_its_kind(family: str, tmp_path: Path) -> None:
    model, texts = (
        build_toy_model(family).eval(),
        tokenize(build_tokenizer(family), TEXTS, None, 64),
    )
    kind = type(model)
    let_head_read(model, "mean")
    model.save_pretrained(tmp_path)
    again, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    batch = texts.batch(range(5))
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("model_type", ["distilbert", "electra", "xlm-roberta", "roformer"])
def test_kinds_with_layers_of_like_build_can_average(model_type: str) -> None:
    assert let_head_read(built(model_type), "mean")


@pytest.mark.parametrize("model_type", ["mpnet", "albert", "convbert"])
def test_a_kind_that_cannot_average_says_so_and_stays_as_it_is(model_type: str) -> None:
    model = built(model_type)
    before = copy.deepcopy(model)
    assert not let_head_read(model, "mean")
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3).long()}
    with torch.inference_mode():
        assert torch.equal(model(**batch).logits, before(**batch).logits)


def test_a_kind_that_knows_how_to_average_is_told_to() -> None:
    model = built("modernbert")
    assert let_head_read(model, "mean")
    assert model.config.classifier_pooling == "mean"
    assert model.config.num_hidden_layers == 2


def test_a_layer_that_averages_learns_at_the_rate_of_the_head() -> None:
    model = build_toy_model("bert")
    before = rates(model)
    assert let_head_read(model, "mean")
    after = rates(model)
    layer = "bert.encoder.layer.2.output.dense.weight"
    assert after.pop(layer) == after["classifier.weight"] == 1.0
    assert {name: after[name] for name in before} == before
    assert before["bert.encoder.layer.1.output.dense.weight"] == 1.0
    assert before["bert.encoder.layer.0.output.dense.weight"] == 0.5


def rates(model: Any) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 1.0, 0.0, 0.5)
    return {names[each]: group["lr"] for group in groups for each in group["params"]}


def problem(rows: int = 300, noise: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, Any]:
    random = np.random.default_rng(seed)
    targets = np.arange(rows) % 3
    centres = random.normal(size=(3, 8))
    features = centres[targets] * 2 + noise * random.normal(size=(rows, 8))
    return torch.from_numpy(features.astype(np.float32)), targets


def apart(targets: Any) -> StratifiedGroups:
    """Of rows that are no copies of each other."""
    return StratifiedGroups(targets, np.arange(len(targets)))


def test_the_solution_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    features, targets = problem()
    found = solve(features, torch.from_numpy(targets), 3, LOSS, apart(targets))
    variance, count = features.var(0, correction=0), len(features)
    spread = ((count * variance + 100 * variance.median()) / (count + 100)).sqrt()
    rows = (features - features.mean(0)) / spread
    strength = held_out_loss(features, torch.from_numpy(targets), 3, LOSS, apart(targets)).strength
    theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=1000).fit(rows, targets)
    ours = (features @ found.weight.T + found.bias).log_softmax(1)
    np.testing.assert_allclose(ours.exp(), theirs.predict_proba(rows), atol=1e-3)


def test_the_less_there_is_to_learn_the_stronger_the_penalty() -> None:
    random = np.random.default_rng(0)
    features, targets = problem()
    shuffled = random.permutation(targets)
    plain, nothing = (
        held_out_loss(features, torch.from_numpy(each), 3, LOSS, apart(each))
        for each in (targets, shuffled)
    )
    assert nothing.strength <= STRENGTHS[0] < plain.strength
    assert plain.loss < nothing.loss == pytest.approx(np.log(3), abs=0.05)


@pytest.mark.parametrize("solver", [solve, nearest_means])
def test_nothing_is_learned_of_a_row_from_its_copies(solver: Any) -> None:
    random = np.random.default_rng(0)
    rows = np.tile(np.arange(60), 4)
    targets = random.integers(3, size=60)[rows]
    features = torch.from_numpy(random.normal(size=(60, 32)).astype(np.float32)[rows])
    alike = StratifiedGroups(targets, rows)
    found = solver(features, torch.from_numpy(targets), 3, LOSS, alike)
    said = (features @ found.weight.T + found.bias).softmax(1).max(1).values
    assert float(said.mean()) < 0.6
    fold, order = alike.folds()
    assert all(len(set(fold[rows[order] == row])) == 1 for row in range(60))
    assert np.bincount(fold).tolist() == [48] * 5


def test_copies_of_one_row_alone_are_told_by_their_labels() -> None:
    targets = np.repeat([0, 1, 2], [6, 3, 1])
    alike = StratifiedGroups(targets, np.zeros(10, np.int64))
    found = solve(torch.ones(10, 4), torch.from_numpy(targets), 3, LOSS, alike)
    np.testing.assert_allclose(found.bias.softmax(0), [0.6, 0.3, 0.1], atol=0.01)


def test_a_feature_that_does_not_vary_is_left_alone() -> None:
    features, targets = problem()
    features = torch.cat([features, torch.full((len(features), 1), 7.0)], dim=1)
    found = solve(features, torch.from_numpy(targets), 3, LOSS, apart(targets))
    assert torch.isfinite(found.bias).all()
    assert not found.weight[:, -1].any()


def test_the_nearest_class_mean_is_a_linear_layer() -> None:
    from sklearn.neighbors import NearestCentroid

    features, targets = problem(noise=2.0)
    found = nearest_means(features, torch.from_numpy(targets), 3, LOSS, apart(targets))
    answers = (features @ found.weight.T + found.bias).argmax(1).numpy()
    rows = features.numpy()
    assert (answers == NearestCentroid().fit(rows, targets).predict(rows)).all()
    assert 0.7 < (answers == targets).mean() < 1


def test_how_sure_it_is_of_the_nearest_mean_is_what_rows_left_out_allow() -> None:
    features, targets = problem(noise=2.0)
    random = np.random.default_rng(0)
    for labels, right in ((targets, 0.8), (random.permutation(targets), 1 / 3)):
        found = nearest_means(features, torch.from_numpy(labels), 3, LOSS, apart(labels))
        said = (features @ found.weight.T + found.bias).softmax(1).max(1).values
        assert float(said.mean()) == pytest.approx(right, abs=0.15)


def test_a_class_of_few_rows_is_not_further_away_for_that() -> None:
    random = np.random.default_rng(0)
    targets = np.repeat([0, 1], [3, 60])
    new = np.repeat([0, 1], [300, 300])
    middles = random.normal(size=(2, 200)) * 0.35
    rows, asked = (
        torch.from_numpy(middles[each] + random.normal(size=(len(each), 200))).float()
        for each in (targets, new)
    )
    found = nearest_means(rows, torch.from_numpy(targets), 2, LOSS, apart(targets))
    answers = (asked @ found.weight.T + found.bias).argmax(1).numpy()
    assert [(answers[new == each] == each).mean() > 0.75 for each in (0, 1)] == [True, True]


def test_one_row_a_class_is_a_prototype_and_says_little() -> None:
    targets = np.arange(3)
    found = nearest_means(torch.eye(3), torch.from_numpy(targets), 3, LOSS, apart(targets))
    said = (found.weight + found.bias[:, None]).softmax(0)
    assert (said.argmax(0).numpy() == targets).all()
    assert float(said.max()) < 0.5


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Texts in which the class is a matter of which word is the more frequent one."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(160):
        words = ["good"] * 4 + ["bad"] * 2 if number % 2 else ["good"] * 2 + ["bad"] * 4
        words += list(random.choice(["the", "film", "book", "food", "was"], 4))
        rows.append((" ".join(random.permutation(words)), "yes" if number % 2 else "no"))
    return write_table(tmp_path / "counted.csv", rows, ("text", "label"))


def test_a_head_over_a_checkpoint_without_a_pooler_is_as_good_as_its_mean(
    counted: Path, tmp_path: Path
) -> None:
    base = build_base(tmp_path / "base", "bert")
    config = AutoConfig.from_pretrained(base)
    BertModel(config, add_pooling_layer=False).save_pretrained(base)
    said: list[str] = []
    options = TrainConfig(model_id=str(base), method="head", max_length=32, learning_rate=0.1)
    done = train_here(counted, tmp_path / "out", options, notify=said.append)
    assert done.evaluation.metrics["accuracy"].value > 0.9
    assert any("The head reads the mean over the tokens" in line for line in said)
    assert any("learning_rate means nothing to it" in line for line in said)
    assert "The head reads the mean" in (tmp_path / "out" / "README.md").read_text()
    texts = ["good good good bad film", "bad bad bad good film"]
    ask = pipeline("text-classification", str(tmp_path / "out"))
    ours = TextClassifier.load(tmp_path / "out").predict(texts)
    assert [each["label"] for each in ask(texts)] == [each.label for each in ours] == ["yes", "no"]


def noise(rows: int) -> list[dict[str, str]]:
    """Texts whose labels nothing tells."""
    random = np.random.default_rng(0)
    words = [*"abcdefghijklmnop"]
    texts = [" ".join(random.choice(words, 12)) for _ in range(rows)]
    return [{"text": text, "label": str(random.choice(["no", "yes"]))} for text in texts]


@pytest.mark.parametrize(
    ("method", "count", "held"), [("head", 90, 9), ("prototypes", 90, 9), ("head", 600, 60)]
)
def test_rows_held_out_are_learned_once_they_have_judged(
    method: str, count: int, held: int, tmp_path: Path
) -> None:
    base, rows = build_base(tmp_path / "base", "bert"), noise(count)
    quick: dict[str, Any] = {"max_length": 32, "mixed_precision": "float32"}
    config = TrainConfig(model_id=str(base), method=method, **quick)
    done = train_here(rows, tmp_path / "all", config)
    with patch.object(fit_module, "learn_held_out", return_value=()):
        before = train_here(rows, tmp_path / "some", config)
    figures, texts = "metrics", [row["text"] for row in rows]
    assert done.manifest[figures] == before.manifest[figures]
    logits = [TextClassifier.load(tmp_path / each).logits(texts) for each in ("all", "some")]
    assert not np.allclose(*logits)
    said = f"The rows held out ({held}) judged a head that did not know them; "
    assert f"{said}it was then solved again, on all {count}." in done.notes
    assert said in (tmp_path / "all" / "README.md").read_text()


@pytest.mark.parametrize("solver", [solve, nearest_means])
def test_a_head_that_learns_more_rows_is_as_sure_as_it_was(solver: Any) -> None:
    random = np.random.default_rng(0)
    targets = torch.from_numpy(random.integers(3, size=400))
    features = torch.from_numpy(random.normal(size=(400, 8)).astype(np.float32))
    features[torch.arange(400), targets] += 1.0
    few = solver(features[:40], targets[:40], 3, LOSS, apart(targets[:40].numpy()))
    anew, kept = (
        solver(features, targets, 3, LOSS, apart(targets.numpy()), strength)
        for strength in (None, few.strength)
    )
    assert kept.strength == few.strength != anew.strength
    assert float(kept.weight.norm()) != pytest.approx(float(anew.weight.norm()), rel=1e-3)


def test_what_the_frozen_encoder_says_is_computed_once(tmp_path: Path) -> None:
    base, read = build_base(tmp_path / "base", "bert"), []

    def counted_logits(rows: Any, model: Any, split: str, *rest: Any) -> Any:
        if isinstance(model, FeatureReader) and not model.states:
            read.append(split)
        return logits_of(rows, model, split, *rest)

    config = TrainConfig(model_id=str(base), method="head", max_length=32)
    with patch.object(head_module, "logits_of", counted_logits):
        train_here(noise(90), tmp_path / "out", config)
    assert read == ["train", "validation"]


def test_the_figures_of_test_rows_are_of_the_head_that_is_published(tmp_path: Path) -> None:
    base, rows = build_base(tmp_path / "base", "bert"), noise(150)
    data = {"train": rows[:90], "test": rows[90:]}
    quick: dict[str, Any] = {"max_length": 32, "mixed_precision": "float32"}
    config = TrainConfig(model_id=str(base), method="head", **quick)
    done = train_here(data, tmp_path / "out", config)
    answers = TextClassifier.load(tmp_path / "out").predict([row["text"] for row in rows[90:]])
    pairs = zip(answers, rows[90:], strict=True)
    right = [answer.label == row["label"] for answer, row in pairs]
    assert done.manifest["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(right))


def test_validation_rows_that_were_given_are_not_learned(tmp_path: Path) -> None:
    base, rows = build_base(tmp_path / "base", "bert"), noise(90)
    data = {"train": rows[:70], "validation": rows[70:]}
    done = train_here(data, tmp_path / "out", TrainConfig(model_id=str(base), method="head"))
    assert "judged a head" not in " ".join(done.notes)


@pytest.mark.parametrize("method", ["prototypes", "contrastive"])
@pytest.mark.parametrize(
    ("labels", "task"), [(["1.5", "2.25"], "regression"), ([["a", "b"], ["a"]], "multi label")]
)
def test_what_knows_classes_alone_refuses_other_labels(
    method: str, labels: list[Any], task: str, tmp_path: Path
) -> None:
    rows = [{"text": f"text {row}", "label": labels[row % 2]} for row in range(40)]
    config = TrainConfig(model_id="tiny", method=method)
    if task == "regression":
        config = replace(config, task=task)
    said = f"--method {method} takes rows of one class each, and this is {task}. Use --method lora"
    for run in (lambda: train(rows, tmp_path / "out", config), lambda: audit_table(rows, config)):
        with pytest.raises(ConfigError, match=said):
            run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("metric", "now", "best", "rows", "better"),
    [
        ("accuracy", (0.9, 1.0), (0.8, 0.5), 1000, True),
        ("accuracy", (0.8, 0.5), (0.9, 1.0), 1000, False),
        ("accuracy", (0.82, 0.9), (0.8, 0.5), 100, False),  # within the noise: the loss decides
        ("accuracy", (0.78, 0.4), (0.8, 0.5), 100, True),
        ("accuracy", (0.8, 0.6), (0.8, 0.5), 1000, False),
        ("accuracy", (0.1, 9.0), (0.8, 0.5), 0, True),  # too few rows: the last one
        ("mae", (0.4, 1.0), (0.5, 0.9), 10, True),
        ("mae", (0.5, 0.8), (0.5, 0.9), 10, True),
    ],
)
def test_which_of_two_evaluations_is_the_better_one(
    metric: str, now: Any, best: Any, rows: int, better: bool
) -> None:
    first, second = ({metric: value, "loss": loss} for value, loss in (now, best))
    greater = metric != "mae"
    assert is_better(metric, first, second, [second], rows, greater=greater) is better
    assert is_better(metric, first, None, [], rows)


@pytest.mark.parametrize(
    ("step", "better"),
    [
        (-0.015, [True, True, False, False, False, False]),
        (0.015, [True, False, True, False, True, False]),
    ],
)
def test_small_steps_do_not_add_up(step: float, better: list[bool]) -> None:
    """Each is within the noise of the one before: down with a lower loss, up with a higher one."""
    course = [{"accuracy": 0.8 + step * at, "loss": 0.5 + step * at} for at in range(6)]
    best, found = None, []
    for at, now in enumerate(course):
        found.append(is_better("accuracy", now, best, course[:at], 200))
        best = now if found[-1] else best
    assert found == better
