"""Examples that a caller holds are learned from as their files are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import numpy as np
import pandas
import pytest
from PIL import Image

from footwork.errors import ConfigError, DataError
from footwork.finetuning.advise import _head_on
from footwork.images.decoding import decode_image
from footwork.tables.splits import with_splits
from tests.runs import finetune_here, run_here
from tests.zeroshot.image_towers import LABELS, QUICK
from zeroshot import (
    CompareOptions,
    FinetuneConfig,
    FinetunedClassifier,
    TeachOptions,
    ZeroShotClassifier,
    compare,
    evaluate,
    teach,
)
from zeroshot.labelled_images import read_examples
from zeroshot.task import advise, read_images

FEATURES = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=LABELS)})


def rows(folder: Path, hold: Callable[[Path], Any] = Path.read_bytes) -> list[dict[str, Any]]:
    paths = sorted(folder.rglob("*.png"))
    return [{"photo": hold(path), "kind": path.parent.name} for path in paths]


def dataset(folder: Path, hold: Callable[[Path], Any] = Path.read_bytes) -> datasets.Dataset:
    def cell(path: Path) -> Any:
        held = hold(path)
        return {"bytes": held, "path": None} if isinstance(held, bytes) else held

    return datasets.Dataset.from_list(rows(folder, cell), features=FEATURES)


def saved(folder: Path, place: Path) -> Path:
    dataset(folder).save_to_disk(place)
    return place


def parquet(folder: Path, place: Path) -> Path:
    dataset(folder).to_parquet(place / "train.parquet")
    return place / "train.parquet"


@pytest.mark.parametrize(
    "hold",
    [
        lambda folder, _: rows(folder, str),
        lambda folder, _: rows(folder),
        lambda folder, _: rows(folder, lambda path: BytesIO(path.read_bytes())),
        lambda folder, _: pandas.DataFrame(rows(folder)),
        lambda folder, _: pandas.DataFrame(rows(folder, lambda path: path)),
        lambda folder, _: dataset(folder),
        lambda folder, _: dataset(folder, str),
        lambda folder, _: datasets.DatasetDict(train=dataset(folder)),
        saved,
        parquet,
    ],
)
def test_however_examples_are_held_they_are_the_same_data(
    hold: Callable[[Path, Path], Any], examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    held = hold(examples, tmp_path / "place")
    found = read_images(held, FinetuneConfig(), tmp_path / "files")
    expected = read_images(examples, FinetuneConfig())
    assert (found.labels, found.sha256) == (expected.labels, expected.sha256)
    assert found.skipped == ()
    for name, part in expected.splits.items():
        assert np.array_equal(found.splits[name].targets, part.targets)
        pairs = zip(found.splits[name].inputs, part.inputs, strict=True)
        assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)


def test_a_file_that_a_cell_names_lies_beside_its_table(examples: Path, tmp_path: Path) -> None:
    table = tmp_path / "place" / "train.parquet"
    shutil.copytree(examples, table.parent)
    datasets.Dataset.from_list(
        [
            {"photo": {"bytes": None, "path": str(path.relative_to(examples))}, "kind": label}
            for path in sorted(examples.rglob("*.png"))
            for label in [path.parent.name]
        ]
    ).to_parquet(table)
    found = read_images(table, FinetuneConfig(), tmp_path / "files")
    assert found.sha256 == read_images(examples, FinetuneConfig()).sha256


@pytest.mark.parametrize("hold", [Image.open, lambda path: np.asarray(Image.open(path))])
def test_pixels_alone_are_the_same_data_each_time_and_never_on_two_sides(
    hold: Callable[[Path], Any], examples: Path, tmp_path: Path
) -> None:
    held = rows(examples, hold)
    held += held[::2]
    first, second = (
        read_images(held, FinetuneConfig(), tmp_path / name) for name in ("one", "two")
    )
    assert first.sha256 == second.sha256
    contents = [{path.read_bytes() for path in part.inputs} for part in first.splits.values()]
    assert len(contents) == 2
    assert not contents[0] & contents[1]
    written, drawn = tmp_path / "one/train/row 1, column 1", sorted(examples.rglob("*.png"))[0]
    assert decode_image(written) == decode_image(drawn)


def test_an_image_that_is_trained_as_two_classes_is_told(examples: Path, tmp_path: Path) -> None:
    held = rows(examples)
    held.append({**held[0], "kind": held[-1]["kind"]})
    found = read_images(held, FinetuneConfig(), tmp_path / "files")
    assert (
        "One image has several labels: train/row 1, column 1 and train/row 31, column 1. Keep the "
        "right one of each."
    ) in found.notes
    assert not any("several" in note for note in read_images(examples, FinetuneConfig()).notes)


def test_what_is_no_image_is_left_out_with_its_row_and_reason(
    examples: Path, vit: str, tmp_path: Path
) -> None:
    cut = Image.open(BytesIO(sorted(examples.rglob("*.png"))[0].read_bytes()[:-2000]))
    bad = [{"photo": b"\xfftext", "kind": LABELS[0]}, {"photo": None, "kind": LABELS[1]}]
    held = [*rows(examples), *bad, {"photo": cut, "kind": LABELS[0]}]
    config = FinetuneConfig(model_id=vit, method="head")
    done = finetune_here(held, tmp_path / "out", config)
    assert {each.place: each.reason for each in done.skipped} == {
        "train/row 31, column 1": "it is no picture of a known kind",
        "list of rows, row 32": "it names no image file",
        "list of rows, row 33": "it is truncated",
    }
    gone = [{"photo": "gone.png", "kind": label} for label in LABELS]
    with pytest.raises(
        DataError, match=r"No image of the test split.*gone\.png: it does not exist"
    ):
        finetune_here(held, tmp_path / "other", config, test=gone)
    arrays = [{"photo": np.zeros((8, 8, 3)), "kind": label} for label in LABELS]
    with pytest.raises(
        DataError, match=r"holds no image but an array of float64, .*astype\('uint8'"
    ):
        teach(arrays, tmp_path / "taught", "tiny")
    lost = evaluate(ZeroShotClassifier.load("tiny", LABELS), held).skipped[-1]
    assert lost.place == "row 31, column 1"
    assert done.manifest["data"]["path"] == "list of rows"


def test_a_training_on_a_data_set_gives_the_weights_of_one_on_its_folder(
    examples: Path, vit: str, tmp_path: Path
) -> None:
    config = FinetuneConfig(model_id=vit, method="full", **QUICK)
    every = {"folder": examples, "held": dataset(examples)}
    for name, data in every.items():
        finetune_here(data, tmp_path / name, config)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in every]
    assert weights[0] == weights[1]


def test_splits_are_named_in_a_mapping_or_given_beside(
    examples: Path, vit: str, tmp_path: Path
) -> None:
    data = dataset(examples)
    train, rest = data.train_test_split(0.4, seed=0).values()
    parts = datasets.DatasetDict(train=train, val=rest, unlabelled=rest)
    found = read_images(parts, FinetuneConfig(), tmp_path / "files")
    assert {name: len(part) for name, part in found.splits.items()} == {
        "train": 18,
        "validation": 12,
    }
    assert "Not read of DatasetDict of datasets, beside 'train', 'val': 'unlab" in found.notes[0]
    config = FinetuneConfig(model_id=vit, method="head")
    beside = finetune_here(train, tmp_path / "out", config, validation=rest, test=rows(examples))
    assert beside.manifest["data"]["rows"] == {"train": 18, "validation": 12, "test": 30}
    with pytest.raises(DataError, match="has no split train; it has 'test'"):
        read_images({"test": rest}, config)
    for read in (read_examples, lambda data: read_images(data, config)):
        with pytest.raises(
            DataError, match=r"'kind'\)?\..* Columns become a table by pandas\.DataF"
        ):
            read(data.with_format("numpy")[:3] | {"photo": [1, 2, 3]})
    two = read_images({"train": train, "dev": train, "val": rest}, config, tmp_path / "two")
    assert len(two.splits["validation"]) == 12
    assert "beside 'train', 'val': 'dev'." in two.notes[0]
    assert len(read_examples(parts, tmp_path / "taught").paths) == 18
    with pytest.raises(DataError, match="must be one validation; it has train, test"):
        read_images({"train": train, "validation": {"train": train, "test": rest}}, config)


def test_what_is_given_beside_a_folder_takes_the_place_of_its_own_split(
    examples: Path, tmp_path: Path
) -> None:
    shutil.copytree(examples, tmp_path / "all" / "train")
    shutil.copytree(examples, tmp_path / "all" / "test")
    other = tmp_path / "other" / "val"
    for label in LABELS:
        shutil.copytree(examples / label, other / label)
    config = FinetuneConfig()
    found = read_images(with_splits(tmp_path / "all", other), config)
    assert {path.parents[1] for path in found.splits["train"].inputs} == {tmp_path / "all/train"}
    assert {path.parents[1] for path in found.splits["validation"].inputs} == {other}
    assert {path.parents[1] for path in found.splits["test"].inputs} == {tmp_path / "all/test"}
    found = read_images(with_splits(tmp_path / "all", other, other), config)
    assert {path.parents[1] for path in found.splits["test"].inputs} == {other}
    assert any("The test of" in note and "itself is not read" in note for note in found.notes)
    loose = tmp_path / "loose"
    shutil.copytree(examples / LABELS[0], loose / "train")
    shutil.copytree(examples / LABELS[1], loose / "test")
    (loose / "test" / ".hidden").mkdir()
    for read in (read_examples, lambda data: read_images(data, config)):
        with pytest.raises(
            DataError, match=r"called like splits \(test, train\), and there is no cl"
        ):
            read(loose)
    columns = {"photo": [1, 2, 3], "kind": list(LABELS)}
    for beside in ({"test": columns}, {"validation": columns}):
        with pytest.raises(DataError, match=r"Columns become a table by pandas\.DataF"):
            read_images(with_splits(rows(examples), **beside), config, tmp_path / "files")
    with pytest.raises(DataError, match="There is no file or folder"):
        read_images(tmp_path / "none", FinetuneConfig(task="multi"))


def test_what_was_taught_from_memory_is_not_taken_for_what_it_is_judged_by(
    examples: Path, tmp_path: Path
) -> None:
    held = rows(examples)
    taught = teach(held[::2], tmp_path / "taught", "tiny", TeachOptions(words=0)).classifier
    found = evaluate(taught, held[1::2])
    assert not any("These are the examples" in note for note in found.notes)


def test_advice_and_a_comparison_take_them_too(examples: Path, vit: str, tmp_path: Path) -> None:
    config, held = FinetuneConfig(model_id=vit), dataset(examples)
    no_baseline = patch("zeroshot.pixels.DecodedImages._judge_pretrained", None)
    with no_baseline, patch("footwork.evaluation.splits.FOLDS", 2):
        found = advise(held, config)
    assert (found.rows, set(found.scores)) == (24, {"frozen", "random"})
    bad = {"photo": b"\xfftext", "kind": LABELS[0]}
    with no_baseline, patch("footwork.finetuning.advise._head_on", wraps=_head_on) as heads:
        advise([bad, *rows(examples)], config)
    for learner, encoded, *_ in (call.args for call in heads.call_args_list):
        assert learner.data is encoded.data  # a label that stood for an unreadable image is gone
    options = CompareOptions(methods=("head", "prototypes"), seeds=(0,))
    done = compare([*rows(examples), bad], tmp_path / "compared", config, options)
    assert (done.folder / "report.html").exists()
    assert [each.place for each in done.skipped] == ["train/row 31, column 1"]


def test_what_was_taught_by_a_data_set_is_evaluated_on_rows(examples: Path, tmp_path: Path) -> None:
    held = dataset(examples)
    few = held.select(range(0, 30, 3))
    run = teach(few, tmp_path / "taught", "tiny", TeachOptions(words=0))
    expected = teach(rows(examples)[::3], tmp_path / "again", "tiny", TeachOptions(words=0))
    first, second = (done.manifest["data"] for done in (run, expected))
    assert first["embeddings_sha256"] == second["embeddings_sha256"]
    assert first["path"] == "Dataset of datasets"
    judged = evaluate(run, rows(examples))
    assert judged.images == 30
    assert all(each.path.name == str(each.path) for each in judged.wrong)  # row 3, column 1
    top_1 = judged.reported.metrics["top_1"]
    assert repr(judged).startswith("<ImageEvaluation: 30 images, by the taught classifier: top-1 ")
    first = judged.to_pandas().iloc[0]
    assert (first["metric"], first["value"], first["low"]) == ("top_1", top_1.value, top_1.low)
    by_class = judged.to_pandas(per_class=True).set_index("label")
    assert by_class["images"].tolist() == [10, 10, 10]
    assert by_class.loc["navy", "recall"] == judged.per_class[1].recall.value
    assert "was taught 3 classes by 10 images" in repr(run)
    by_folder = evaluate(tmp_path / "taught", examples)
    assert by_folder.reported.metrics == judged.reported.metrics
    with pytest.raises(DataError, match="has one class, 'amber': nothing to tell it from"):
        teach(held.select(range(4)), tmp_path / "one", "tiny")


def test_a_classifier_by_words_is_evaluated_by_its_own_words(examples: Path) -> None:
    labels = ["Amber", "navy", "olive", "green"]
    classifier = ZeroShotClassifier.load("tiny", labels)
    judged = evaluate(classifier, dataset(examples))
    assert judged.labels == tuple(labels)
    paths = sorted(examples.rglob("*.png"))
    proba = classifier.predict_proba(paths).argmax(axis=1)
    pairs = zip(proba, paths, strict=True)
    right = [labels[row].lower() == path.parent.name for row, path in pairs]
    assert judged.reported.metrics["top_1"].value == pytest.approx(np.mean(right))
    other = ZeroShotClassifier(classifier.encoder, ["navy", "cat"])
    with pytest.raises(DataError, match=r"not know 'amber', 'olive'; its labels are 'navy', 'cat'"):
        evaluate(other, examples)


def test_a_fine_tuned_classifier_is_evaluated_on_a_frame(
    examples: Path, vit: str, tmp_path: Path
) -> None:
    config = FinetuneConfig(model_id=vit, method="head")
    finetune_here(examples, tmp_path / "out", config)
    frame = pandas.DataFrame(rows(examples, Image.open))
    judged = evaluate(FinetunedClassifier.load(tmp_path / "out"), frame)
    assert judged.evaluation.rows == 30
    with pytest.raises(ConfigError, match=r"must be a classifier of images, .* got list"):
        evaluate([tmp_path], frame)  # type: ignore[call-overload]
    assert evaluate(str(tmp_path / "out"), examples).evaluation.metrics == judged.evaluation.metrics


def test_the_commands_take_the_parquet_files_of_the_hub(examples: Path, tmp_path: Path) -> None:
    table = parquet(examples, tmp_path)
    done = run_here("teach", table, tmp_path / "out", "--model", "tiny", app="zeroshot")
    assert done.returncode == 0, done.stderr
    for options in (["--model", "tiny"], ["--taught", tmp_path / "out"]):
        done = run_here("evaluate", table, *options, app="zeroshot")
        assert done.returncode == 0, done.stderr
        assert "30 images, 3 classes" in done.stdout
