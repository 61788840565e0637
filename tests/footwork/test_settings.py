from __future__ import annotations

import pickle
import re
from dataclasses import fields
from functools import partial
from pathlib import Path
from pydoc import plaintext, render_doc
from typing import Any

import numpy as np
import pytest

import textclf
import zeroshot
from footwork.comparison.plan import CompareOptions
from footwork.errors import ConfigError, Interrupted
from footwork.evaluation.decision import DecisionRule
from footwork.inference.sequences import InferenceConfig
from footwork.methods.table import AdaptationConfig
from footwork.options import EncoderConfig, LoopConfig
from footwork.settings import Settings
from footwork.tables.layout import TableFormat
from search.options import FilterOptions, QueryOptions
from tests.toy_task import NUMBERS
from textclf import Metric, Prediction, TextClassifier, TrainConfig, advise, audit_table
from textclf.classifier import ClassifierOptions
from textclf.config import TextOptions
from textclf.data import DataOptions
from zeroshot import FinetunedClassifier, TaughtClassifier, ZeroShotClassifier, ZeroShotOptions
from zeroshot.options import FinetuneConfig, LabelOptions, ModelOptions, TeachOptions


def heirs(kind: type[Any]) -> list[type[Any]]:
    return [each for heir in kind.__subclasses__() for each in (heir, *heirs(heir))]


ALL = {each for each in heirs(Settings) if not each.__module__.startswith("tests")}


@pytest.mark.parametrize(
    "settings", sorted(ALL, key=str), ids=lambda each: f"{each.__module__}.{each.__name__}"
)
def test_every_setting_is_checked_when_it_is_set_and_named(settings: type[Any]) -> None:
    settings()  # what is usual is allowed
    for field in fields(settings):
        with pytest.raises(ConfigError, match=f"^`{field.name}` must be .*, got <object"):
            settings(**{field.name: object()})


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        (TrainConfig, {"learning_rate": "2e-5"}, "a finite number or None, got '2e-5'"),
        (TrainConfig, {"learning_rate": float("nan")}, "a finite number or None, got nan"),
        (TrainConfig, {"warmup": float("inf")}, "a finite number, got inf"),
        (TrainConfig, {"batch_size": 2.5}, "a whole number, got 2.5"),
        (TrainConfig, {"batch_size": True}, "a whole number, got True"),
        (TrainConfig, {"merge": 1}, "True or False, got 1"),
        (TrainConfig, {"schedule": "steep"}, "one of linear, cosine, .*, got 'steep'"),
        (TrainConfig, {"class_weights": "Balanced"}, "one of none, balanced, got 'Balanced'"),
        (TextOptions, {"text_columns": 5}, "a list of which each is a text, got 5"),
        (
            TrainConfig,
            {"skip": "proof,report"},
            "a list of which each is one of .*, got 'proof,rep",
        ),
        (TextOptions, {"table_format": "csv"}, "a TableFormat, got 'csv'"),
        (CompareOptions, {"seeds": (0, 1.5)}, r"a list of which .* whole number, got \(0, 1.5\)"),
        (ClassifierOptions, {"long": "half"}, "one of truncate, windows, got 'half'"),
        (QueryOptions, {"top_k": None}, "a whole number, got None"),
        (ModelOptions, {"decode": "half"}, "one of draft, exact or None, got 'half'"),
    ],
)
def test_a_setting_of_another_kind_is_refused(
    settings: type[Any], given: dict[str, Any], message: str
) -> None:
    [name] = given
    with pytest.raises(ConfigError, match=f"^`{name}` must be {message}"):
        settings(**given)


OF_ONE = {"task": "single_label_classification", "labels": ("a", "b")}


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        *(
            (config, *each)
            for config in (TrainConfig, FinetuneConfig)
            for each in (
                ({"validation_share": 1.0}, "`validation_share` must be"),
                ({"label_smoothing": 1.0}, "`label_smoothing` must be from 0"),
                ({"num_epochs": 0}, "`num_epochs` must be above 0"),
            )
        ),
        (FinetuneConfig, {"features_from": 0}, "`features_from` must be at least 1"),
        (FinetuneConfig, {"augment": "tilts"}, "one of auto, none, flips, crops, got 'tilts'"),
        (FinetuneConfig, {"task": "regression"}, "`task` must be one of single, multi or None"),
        (FinetuneConfig, {"best_metric": "beauty"}, "`best_metric` must be one of accuracy"),
        (DataOptions, {"validation_share": 0.0}, "`validation_share` must be"),
        (DataOptions, {"text_columns": ("a", "b", "c")}, "`text_columns` must be"),
        (DataOptions, {"task": "magic"}, "`task` must be"),
        (LoopConfig, {"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        (LoopConfig, {"warmup": 1.5}, "`warmup` is a share of the steps"),
        (LoopConfig, {"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        (LoopConfig, {"schedule": "wavy"}, "`schedule` must be one of"),
        (
            AdaptationConfig,
            {"method": "magic"},
            "one of auto, lora, full, head, .*, linear, peft:.*, got 'magic'",
        ),
        (AdaptationConfig, {"method": "peft:poly"}, "one of .*peft:.*, got 'peft:poly'"),
        *(
            (AdaptationConfig, {name: 0}, f"`{name}` must be at least 1, got 0")
            for name in (
                "lora_rank",
                "top_layers",
                "prompt_length",
                "adapter_size",
                "prefix_length",
            )
        ),
        (AdaptationConfig, {"top_layers": 2}, "a setting of --method top-k, not of auto, got 2"),
        (AdaptationConfig, {"layer_decay": 0.0}, "`layer_decay` must be above 0"),
        (AdaptationConfig, {"lora_dropout": 1.0}, "`lora_dropout` must be from 0 up to 1"),
        (CompareOptions, {"methods": ("magic",)}, "some of lora, full, .*, got 'magic'"),
        (CompareOptions, {"methods": ()}, "`methods` must be some of lora, .*, got none"),
        (CompareOptions, {"seeds": ()}, "whole numbers, one at least, from 0 on, got none"),
        (CompareOptions, {"seeds": (0, -1)}, "`seeds` must be .* got 0, -1"),
        (
            CompareOptions,
            {"rates": (0.0,), "methods": ("full",)},
            "`rates` must be above 0, got 0",
        ),
        (
            CompareOptions,
            {"rates": (1e-3,), "methods": ("full", "head")},
            r"methods that learn in steps \(lora, full, .*\), and head is solved at once",
        ),
        (EncoderConfig, {"precision": "int8"}, "one of auto, bf16, float32, got 'int8'"),
        (EncoderConfig, {"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        (EncoderConfig, {"workers": 0}, "`workers` must be at least 1, got 0"),
        (EncoderConfig, {"decode": "half"}, "one of draft, exact.*, got 'half'"),
        (FinetuneConfig, {"decode": "half"}, "one of draft, exact.*, got 'half'"),
        (InferenceConfig, {"precision": "int4"}, "`precision` must be"),
        (InferenceConfig, {"batch_tokens": 0}, "`batch_tokens` must be"),
        (InferenceConfig, {"look_ahead": -1}, "`look_ahead` must be"),
        (DecisionRule, OF_ONE | {"abstain_below": 1.2}, "`abstain_below` must be"),
        (DecisionRule, OF_ONE | {"abstain_below": -0.1}, "`abstain_below` must be"),
        (DecisionRule, OF_ONE | {"temperature": 0.0}, "`temperature` must be"),
        (ZeroShotOptions, {"top_k": 0}, "`top_k` must be"),
        (ZeroShotOptions, {"none_below": float("nan")}, "`none_below` must be"),
        (TeachOptions, {"method": "knn"}, "`method` must be one of ensemble, gda"),
        (TeachOptions, {"words": 1.5}, "`words` is a share from 0 to 1, got 1.5"),
        (TeachOptions, {"target_accuracy": 1.0}, "`target_accuracy` is a share between 0 and 1"),
        (TeachOptions, {"refused": 0.0}, "`refused` is a share between 0 and 1"),
        (TeachOptions, {"suggestions": -1}, "`suggestions` must be at least 0"),
    ],
)
def test_a_setting_out_of_range_is_named(
    settings: type[Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**given)


def test_what_means_the_same_becomes_what_the_annotation_says(tmp_path: Path) -> None:
    config = TrainConfig(
        model_id=tmp_path,  # type: ignore[arg-type]
        num_epochs=3,
        batch_size=np.int64(8),  # type: ignore[arg-type]
        learning_rate=np.float32(0.5),  # type: ignore[arg-type]
        merge=np.bool_(False),  # type: ignore[arg-type]
        schedule=np.str_("cosine"),  # type: ignore[arg-type]
        text_columns=["text", np.str_("pair")],  # type: ignore[arg-type]
    )
    assert config.model_id == str(tmp_path)
    plain = (config.num_epochs, config.batch_size, config.learning_rate, config.merge)
    assert [*map(type, plain)] == [int, int, float, bool]
    assert (config.text_columns, config.schedule) == (("text", "pair"), "cosine")
    assert {type(one) for one in (*config.text_columns, config.schedule)} == {str}
    assert FilterOptions(in_=["photos"]).in_ == (Path("photos"),)  # type: ignore[arg-type]
    assert TeachOptions(unlabelled=[tmp_path]).unlabelled == (tmp_path,)  # type: ignore[arg-type]
    assert LabelOptions(labels_file="a.txt").labels_file == Path("a.txt")  # type: ignore[arg-type]
    assert TableFormat(delimiter="tab").delimiter == "\t"
    alone = TrainConfig(text_columns="text", skip="proof")  # type: ignore[arg-type]
    assert (alone.text_columns, alone.skip) == (("text",), ("proof",))
    assert TeachOptions(unlabelled=tmp_path).unlabelled == (tmp_path,)  # type: ignore[arg-type]
    assert TrainConfig(label_column="a,b").label_column == "a,b"
    assert TrainConfig(label_column=np.str_("a,b")).label_column == "a,b"
    assert TrainConfig(label_column=["a", "b"]).label_column == ("a", "b")  # type: ignore[arg-type]


def test_settings_in_another_form_are_refused_by_the_argument_s_name(tmp_path: Path) -> None:
    given: Any = {"num_epochs": 3}
    said = r"`config` must be a TrainConfig or None, got \{'num_epochs': 3\}"
    for call in (audit_table, partial(textclf.train, out=tmp_path / "out"), advise):
        with pytest.raises(ConfigError, match=said):
            call([], config=given)
    with pytest.raises(ConfigError, match="`config` must be a FinetuneConfig or None"):
        zeroshot.finetune([], tmp_path / "out", given)
    with pytest.raises(ConfigError, match="`options` must be a ClassifierOptions or None, got 5"):
        TextClassifier.load(tmp_path, 5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`options` must be a LabelOptions or None, got 'label'"):
        textclf.evaluate(tmp_path, [], "label")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`options` must be a EvaluateOptions or None"):
        zeroshot.evaluate(tmp_path, [], given)
    with pytest.raises(ConfigError, match="`options` must be a TeachOptions or None"):
        zeroshot.teach([], tmp_path / "out", options=given)
    device: Any = {"device": "cpu"}
    of_encoder: Any = EncoderConfig()
    for load, said in (
        (partial(FinetunedClassifier.load, tmp_path, of_encoder), "options` must be a FinetunedOp"),
        (partial(TaughtClassifier.load, tmp_path, of_encoder), "encoder` must be a ImageTextEnco"),
        (partial(TaughtClassifier.load, tmp_path, None, device), "abstain_below` must be a finite"),
        (partial(TaughtClassifier.load, tmp_path, config=device), "config` must be a EncoderConf"),
        (partial(ZeroShotClassifier.load, "tiny", ["a"], config=device), "config` must be"),
        (partial(zeroshot.teach, [], tmp_path / "out", of_encoder), "model_id` must be a text"),
    ):
        with pytest.raises(ConfigError, match=f"^`{said}"):
            load()
    assert TrainConfig.given("config", None) == TrainConfig()


def test_what_is_done_with_what_exists_is_one_of_three(tmp_path: Path) -> None:
    said = re.escape("`existing` must be one of refuse, resume, overwrite, got 'replace'.")
    with pytest.raises(ConfigError, match=said):
        NUMBERS.train([], tmp_path / "out", existing="replace")  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [QueryOptions, TrainConfig, TeachOptions, Prediction, Metric])
def test_help_tells_of_every_setting_and_nothing_of_the_command_line(settings: type[Any]) -> None:
    told = render_doc(settings, renderer=plaintext).partition("Data and other attributes")[0]
    assert "Annotated" not in told
    for field in fields(settings):
        assert f"\n |      {field.name}: " in told
    assert "Images at most." in str(QueryOptions.__doc__)
    assert "A row for each step that was logged or judged" in str(textclf.TrainedRun.__doc__)
    assert "Optimizer steps, instead of epochs." in str(TrainConfig.__doc__)  # of what it inherits
    assert "`none` always gives one." in str(ZeroShotOptions.__doc__)


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (
            "Lower --max-length, or --no-look.",
            "max_length for --max-length, look=False for --no-look",
        ),
        ("Name it with --text-column, twice.", "text_columns=(…,) for --text-column"),
        ("footwork search doctor --repair mends it. State `--model`.", "model_id for --model"),
        (
            "Run footwork search index --from x.npy --model y, or hf download a/b --local-dir c",
            None,
        ),
        ("cat--no-2.jpg, -- and --: nothing that is an option", None),
    ],
)
def test_a_refusal_notes_what_its_options_are_called_from_python(
    message: str, note: str | None
) -> None:
    for error in (ConfigError(message), Interrupted(message, 2)):
        again = pickle.loads(pickle.dumps(error))
        noted = [f"From Python: {note}."] if note else []
        assert (str(again), getattr(again, "__notes__", [])) == (message, noted)


def test_what_applications_share_is_shown_and_sent_as_functions_of_their_own() -> None:
    shared = ((textclf.train, "TrainConfig"), (zeroshot.finetune, "FinetuneConfig"))
    for function, config in shared:
        told = render_doc(function, renderer=plaintext)
        assert f"function {function.__name__} in module" in told
        assert f"config: '{config} | None' = None" in told
        assert "existing: Where `out` or an unfinished run of it is there" in told
        assert pickle.loads(pickle.dumps(function)) is function
