from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from footwork.errors import FootworkError
from footwork.inference.tokens import TokenizedTexts
from footwork.methods.adaptation import (
    GRADUAL,
    HEAD,
    SCRATCH,
    adaptation_of,
    parameter_groups,
    trainable,
)
from footwork.methods.peft import LORA
from footwork.methods.table import METHODS, OF_PEFT, AdaptationConfig, adapter_in, method_of
from footwork.models.checkpoints import load_classifier, load_finished, save_model
from footwork.models.image_classifiers import load_image_classifier
from footwork.models.parts import encoder_of, head_names, layer_of, number_of_layers
from footwork.models.pooling import let_head_read
from footwork.options import LoopConfig
from footwork.training.job import TrainingJob, row_loss
from footwork.training.loop import run_training
from footwork.training.run import OUTCOME, checkpoints, newest_checkpoint, trainable_weights
from tests.models import FAMILIES, build_base
from tests.toy_training import TASK, build_toy_model
from tests.zeroshot.image_towers import build_tower


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_adapts_all_six_matrices_of_every_layer(family: str) -> None:
    adapted = LORA.adapt(build_toy_model(family), AdaptationConfig(), "base", None)
    names = {name.split(".lora_A")[0] for name, _ in trainable(adapted) if "lora_A" in name}
    assert len(names) == 6 * 2  # in each of two layers
    assert not any("pooler" in name or "classifier" in name for name in names)


def test_the_pattern_of_targets_stays_short_however_deep_the_model() -> None:
    assert len(LORA.targets(build_toy_model("bert"))) < 400


@pytest.mark.parametrize("family", FAMILIES)
def test_head_trains_nothing_of_the_encoder(family: str) -> None:
    model = build_toy_model(family)
    HEAD.adapt(model, AdaptationConfig(method="head"), "base", None)
    assert not any(p.requires_grad for p in model.base_model.parameters())
    assert any(True for _ in trainable(model))


@pytest.mark.parametrize("variant", ["plain", "dora", "rslora", "pissa", "olora"])
def test_every_variant_of_lora_takes_a_gradient(variant: Any) -> None:
    adapted = LORA.adapt(
        build_toy_model("bert"), AdaptationConfig(lora_variant=variant), "base", None
    )
    logits = adapted(input_ids=torch.tensor([[5, 6, 7]])).logits
    logits.sum().backward()
    assert all(p.grad is not None for name, p in trainable(adapted) if "lora_B" in name)


@pytest.mark.parametrize("reading", ["own", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradual_unfreezing_goes_from_the_head_down_to_the_embeddings(
    family: str, reading: str
) -> None:
    model = build_toy_model(family)
    assert let_head_read(model, reading)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    resting = [{names[id(p)] for p in GRADUAL.resting(model, epoch)} for epoch in range(4)]
    heads = tuple(head_names(model))
    assert resting[0] == {name for name in names.values() if not name.startswith(heads)}
    assert all(later < earlier for earlier, later in pairwise(resting))
    assert all(layer_of(name, 2) == 0 for name in resting[2])
    assert not resting[3]
    assert encoder_of(model) is model.base_model


def test_biases_and_norms_do_not_decay() -> None:
    model = build_toy_model("deberta-v2")
    for group in parameter_groups(model, 1e-3, 0.01, 1.0):
        decays = group["weight_decay"] > 0
        assert all((p.dim() > 1) == decays for p in group["params"])


def test_every_trainable_parameter_is_in_one_group() -> None:
    model = build_toy_model("deberta-v2")
    for decay in (1.0, 0.9):
        grouped = [
            p for group in parameter_groups(model, 1e-3, 0.01, decay) for p in group["params"]
        ]
        assert sorted(map(id, grouped)) == sorted(id(p) for _, p in trainable(model))


def test_lower_layers_learn_more_slowly() -> None:
    model = build_toy_model("bert")
    depth = number_of_layers(model)
    rate = {
        id(p): group["lr"]
        for group in parameter_groups(model, 1.0, 0.0, 0.5)
        for p in group["params"]
    }
    rates = {name: rate[id(p)] for name, p in trainable(model)}
    assert depth == 2
    assert rates["classifier.weight"] == 1.0
    assert rates["bert.encoder.layer.1.output.dense.weight"] == 1.0
    assert rates["bert.encoder.layer.0.output.dense.weight"] == 0.5
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.25
    assert layer_of("bert.encoder.layer.1.x", depth) == 2


@pytest.mark.parametrize("family", ["resnet", "efficientnet"])
def test_from_scratch_images_are_told_apart_and_norms_count_batches(
    family: str, tmp_path: Path
) -> None:
    model, _ = load_image_classifier(str(build_tower(tmp_path / "base", family)), labels=["a", "b"])
    fresh = SCRATCH.adapt(model, AdaptationConfig(), "", None)
    pixels = torch.randn(8, 3, 32, 32)
    logits = fresh.train()(pixel_values=pixels).logits
    assert logits.std(dim=0).min() > 1e-3  # of EfficientNet as transformers begins it 1e-38
    norms = [each for each in fresh.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert all(norm.running_mean.abs().sum() > 0 for norm in norms)


# What holds of every method, on every kind of encoder

TOWERS = ("vit", "clip", "resnet", "efficientnet")
ARCHITECTURES = (*FAMILIES, "modernbert", *TOWERS)
STEPPED = [name for name, method in METHODS.items() if method.rates]
PAIRS = [(method, family) for family in ARCHITECTURES for method in STEPPED]
PAIRS += [(method, family) for method in OF_PEFT for family in ("deberta-v2", "resnet")]
OF_TEXTS = [name for name, method in METHODS.items() if method.texts_alone]
REFUSED = {
    ("bitfit", "modernbert"): "ModernBertForSequenceClassification has no biases to train",
    **{(m, f): "has no " for m in ("adapter", "prefix") for f in ("resnet", "efficientnet")},
    **{(name, family): "has no embeddings of tokens" for name in OF_TEXTS for family in TOWERS},
    **{
        (name, "resnet"): "ResNetForImageClassification has convolutions, which peft cannot adapt"
        for name, method in OF_PEFT.items()
        if not method.convolves
    },
}
TAKEN = [pair for pair in PAIRS if pair not in REFUSED]
# What a step changes, and what a checkpoint holds, knows the method alone: one kind of text encoder
# and one of images are enough for each. What is adapted, published and merged knows the encoder.
TRAINED = [
    (method, families[number % len(families)])
    for number, method in enumerate(STEPPED)
    for families in ((*FAMILIES, "modernbert"), TOWERS)
]
TRAINED = [pair for pair in TRAINED if pair in TAKEN] + [
    (method, "deberta-v2") for method in OF_PEFT
]
ROWS = 12
LABELS = ["a", "b", "c"]
TARGETS = torch.arange(ROWS) % len(LABELS)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → a folder with a pretrained encoder."""
    folder = tmp_path_factory.mktemp("bases")

    def base(family: str) -> Path:
        if not (folder / family).exists():
            (build_tower if family in TOWERS else build_base)(folder / family, family)
        return folder / family

    return base


def classifier(base: Path) -> Any:
    torch.manual_seed(0)
    if base.name in TOWERS:
        return load_image_classifier(str(base), labels=LABELS)[0]
    return load_classifier(str(base), labels=LABELS, task=TASK)[0]


def toy_rows(model: Any) -> tuple[Any, Any, list[int]]:
    """What gives a batch of rows, what pads one, and how long each is."""
    random = np.random.default_rng(0)
    if model.main_input_name == "pixel_values":
        pixels = torch.from_numpy(random.normal(size=(ROWS, 3, 32, 32)).astype(np.float32))
        return lambda rows: {"pixel_values": pixels[list(rows)]}, None, [1] * ROWS
    ids = [random.integers(5, 99, random.integers(4, 9)).tolist() for _ in range(ROWS)]
    texts = TokenizedTexts({"input_ids": ids}, {"input_ids": 0}, left=False)
    return texts.batch, texts.widen, texts.lengths


def answers(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(**toy_rows(model)[0](range(ROWS))).logits


def trained(base: Path, method: str, run: Path, resume: Path | None = None) -> Any:
    """A classifier after four steps of a method."""
    config, model = AdaptationConfig(method=method), classifier(base)
    adaptation = config.method_row.adaptation
    adapted = adaptation.adapt(model, config, str(base), None)
    batch, pad, lengths = toy_rows(model)

    def measure(current: Any) -> dict[str, float]:
        return {"loss": float(torch.nn.functional.cross_entropy(answers(current), TARGETS))}

    loop = LoopConfig(
        num_epochs=2,
        learning_rate=1e-2,
        batch_size=ROWS // 2,
        best_metric="loss",
        mixed_precision="float32",
    )
    adaptation.begin(adapted, loop.steps_over(ROWS))
    job = TrainingJob(
        model=adapted,
        batch=lambda rows, _: batch(rows),
        targets=TARGETS,
        numbers=range(ROWS),
        lengths=lengths,
        loss=row_loss(TASK),
        parameter_groups=parameter_groups(adapted, 1e-2, 0.01, 1.0),
        measure=measure,
        pad=pad,
        notify=lambda _: None,
        resting=partial(adaptation.resting, adapted),
        penalty=partial(adaptation.penalty, adapted),
        stepped=partial(adaptation.stepped, adapted),
    )
    run_training(job, loop, run, resume)
    adaptation.end(adapted)
    return adapted


def require_published(model: Any, base: Path, method: str, out: Path) -> None:
    """The folder answers as its model does, and so do the weights that it is merged into."""
    way, given = method_of(method), answers(model)
    out.mkdir()
    save_model(out, model)
    texts = AutoModelForSequenceClassification, AutoModelForImageClassification
    loaded = load_finished(out, texts[base.name in TOWERS])
    assert (adapter_in(out) is None) == (way.adapter is None)
    torch.testing.assert_close(answers(loaded), given, rtol=0, atol=1e-5)

    plain = adaptation_of(loaded).merged(loaded)
    merges = way.adapter is not None and way.adapter.merges
    assert (plain is loaded) == (not merges)
    assert type(plain) is type(classifier(base)) or not merges
    torch.testing.assert_close(answers(plain), given, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("method", "family"), sorted(REFUSED))
def test_what_a_method_cannot_adapt_is_refused_with_what_can(
    method: str, family: str, bases: Callable[[str], Path]
) -> None:
    config, said = AdaptationConfig(method=method), REFUSED[method, family]
    with pytest.raises(FootworkError, match=f"{said}.* Use --method "):
        config.method_row.adaptation.require(classifier(bases(family)), config)


@pytest.mark.parametrize(("method", "family"), sorted({*TAKEN} - {*TRAINED}))
def test_what_a_method_adapts_is_saved_and_merged_on_every_kind_of_encoder(
    method: str, family: str, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base, config = bases(family), AdaptationConfig(method=method)
    adaptation = config.method_row.adaptation
    adaptation.require(model := classifier(base), config)
    model = adaptation.adapt(model, config, str(base), None)
    adaptation.begin(model, 4)
    batch = toy_rows(model)[0](range(ROWS))
    torch.nn.functional.cross_entropy(model(**batch).logits, TARGETS).backward()
    with torch.no_grad():
        for _, each in trainable(model):
            if each.grad is not None:
                each -= 1e-2 * each.grad.sign()
    adaptation.end(model)
    require_published(model, base, method, tmp_path / "out")


@pytest.mark.parametrize(("method", "family"), TRAINED)
def test_what_a_method_trains_is_resumed_saved_and_merged_to_the_last_bit(
    method: str, family: str, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base, config, run = bases(family), AdaptationConfig(method=method), tmp_path / "run"
    config.method_row.adaptation.require(classifier(base), config)
    model = trained(base, method, run)
    sizes = [each.numel() for _, each in trainable(model)]
    everything = sum(each.numel() for each in model.parameters())
    assert (sum(sizes) < everything) == (config.method_row.share < 1)

    (run / OUTCOME).unlink()  # as if it had been killed in its second epoch
    shutil.rmtree(checkpoints(run)[-1])
    newest = newest_checkpoint(run)
    assert newest is not None
    again = trained(base, method, run, newest)
    for name, weight in trainable_weights(again).items():
        torch.testing.assert_close(weight, trainable_weights(model)[name], rtol=0, atol=0)
    require_published(model, base, method, tmp_path / "out")
