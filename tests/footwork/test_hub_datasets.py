"""Data sets of the hub: which parts, and what each refusal says."""

from __future__ import annotations

from pathlib import Path

import datasets
import datasets.config
import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from footwork.errors import ConfigError, DataError
from footwork.tables.layout import TableFormat
from footwork.tables.splits import with_splits
from tests.hub import OTHER_TOKEN, Hub
from tests.pictures import quarters
from textclf.predict import open_rows
from textclf.sources import read_tables
from zeroshot import FinetuneConfig
from zeroshot.labelled_images import read_examples, read_labelled_images
from zeroshot.task import read_images

ROWS = "text,label\n" + "good,yes\nbad,no\n" * 10


@pytest.fixture(autouse=True)
def own_cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def lay_out(folder: Path, *configs: str) -> Path:
    """A data set in CSV; with configurations, each in a folder of its own."""
    for config in configs or ("",):
        (folder / config).mkdir(parents=True, exist_ok=True)
        (folder / config / "train.csv").write_text(ROWS)
    listed = "".join(f"- config_name: {c}\n  data_files: {c}/train.csv\n" for c in configs)
    (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n" if configs else "# Data\n")
    return folder


def test_a_data_set_of_several_configurations_asks_which(hub: Hub, tmp_path: Path) -> None:
    hub.add("datasets/some/data", lay_out(tmp_path / "data", "en", "de"))
    form = TableFormat()
    with pytest.raises(ConfigError, match=r"several configurations: en, de\. Name one: some/"):
        read_tables("some/data", form)
    with pytest.raises(ConfigError, match=r"has no configuration 'fr'; it has en, de\."):
        read_tables("some/data:fr", form)
    assert len(read_tables("some/data:de", form).splits["train"].columns["text"]) == 20


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\nc,d\n", r"its files differ in their columns: label, text; a, b\. Download it"),
        ("text,label\na,b\na,b,c\n", r"Error tokenizing data.* Expected 2 fields in line 3, saw 3"),
    ],
)
def test_files_that_make_no_table_are_told_once(
    table: str, message: str, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lay_out(tmp_path / "data") / "test.csv").write_text(table)
    hub.add("datasets/some/data", tmp_path / "data")
    with pytest.raises(DataError, match=message):
        read_tables("some/data", TableFormat())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("some/nothing", None, r"no file or folder some/nothing, and no data set http.*/data"),
        ("some..data", None, r"no file or folder some\.\.data, and http.* gives no data set of"),
        ("some/gated", None, r"is gated: .*/datasets/some/gated, then log in .*hf auth login"),
        ("some/gated", OTHER_TOKEN, r"the account of your token has no access to it"),
        ("some/gated", "rubbish", r"does not accept the access token of HF_TOKEN"),
        ("some/script", None, r"is made by a program of its own, which is not run\. Look at http"),
    ],
)
def test_each_refusal_has_its_own_sentence(
    name: str,
    token: str | None,
    message: str,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.add("datasets/some/gated", lay_out(tmp_path / "gated"), gated=True)
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("import datasets\n")
    hub.add("datasets/some/script", tmp_path / "script")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(DataError, match=message):
        read_tables(name, TableFormat())


@pytest.mark.parametrize("answer", [429, 503, None])
def test_a_hub_that_fails_leaves_the_copy_of_this_machine(
    answer: int | None, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("datasets/some/data", lay_out(tmp_path / "data"))
    online = read_tables("some/data", TableFormat())
    hub.fail("/", answer)
    assert read_tables("some/data", TableFormat()).sha256 == online.sha256
    assert "taking the copy of some/data that this machine holds" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"no file or folder some/other, .* holds no copy"):
        read_tables("some/other", TableFormat())


def test_offline_says_how_to_go_online(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"HF_HUB_OFFLINE is set\. Unset HF_HUB_OFFLINE to "):
        read_tables("some/data", TableFormat())
    assert hub.requests == []


def test_a_copy_that_is_taken_says_which_configuration_it_is(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("footwork.models.downloads._PAUSES", ())
    hub.add("datasets/some/data", lay_out(tmp_path / "data", "en", "de"))
    form = TableFormat()
    read_tables("some/data:en", form)
    hub.fail("/api/", 500)
    assert "Of some/data the configuration 'en' is read." in read_tables("some/data", form).notes
    hub.faults.clear()
    read_tables("some/data:de", form)
    hub.fail("/api/", 500)
    with pytest.raises(ConfigError, match=r"holds copies of several .*: (de, en|en, de)\. Name o"):
        read_tables("some/data", form)


def test_splits_that_are_not_read_are_told(hub: Hub, tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "data", "train", "unsupervised")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - {split: train, path: train/train.csv}\n"
        "  - {split: unsupervised, path: unsupervised/train.csv}\n---\n"
    )
    hub.add("datasets/some/data", folder)
    found = read_tables("some/data", TableFormat())
    assert list(found.splits) == ["train"]
    assert "Not read of some/data, beside 'train': 'unsupervised'." in found.notes
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("split: train", "split: learn"))
    hub.add("datasets/some/odd", folder)
    with pytest.raises(DataError, match=r"it has 'learn', 'unsupervised'\. Give the one that you"):
        read_tables("some/odd", TableFormat())
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    hub.add("datasets/some/spoilt", folder)
    with pytest.raises(DataError, match="some/spoilt cannot be read as a data set: "):
        read_tables("some/spoilt", TableFormat())


def test_data_of_the_hub_is_answered(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay_out(tmp_path / "data")
    (folder / "test.csv").write_text("text,label\ngood,yes\n")
    hub.add("datasets/some/data", folder)
    stream = open_rows("some/data")
    assert [cells for _, cells in stream] == [{"text": "good", "label": "yes"}]
    assert "Of some/data the test split is used." in stream.notes
    with pytest.raises(DataError, match="no file or folder some/none, and no data set"):
        open_rows("some/none")
    with pytest.raises(DataError, match="some/data cannot be read: No such file"):
        open_rows("some/data", "lines")  # no data set has lines
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        open_rows(f"data/{'x' * 300}")


def test_what_comes_of_a_data_set_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("footwork.tables.hub_datasets._LOOK_EVERY", 0.001)
    monkeypatch.setattr("footwork.console.BETWEEN", 0)
    monkeypatch.setattr("footwork.console._SHARE", 0)
    folder = lay_out(tmp_path / "data")
    (folder / "train.csv").write_text("text,label\n" + "good,yes\nbad,no\n" * 200_000)
    hub.add("datasets/some/data", folder)
    read_tables("some/data", TableFormat())
    assert "downloading some/data" in capsys.readouterr().err


def test_images_of_the_hub_are_trained_on_taught_and_judged(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, labels = tmp_path / "data", ("cat", "dog")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=labels))
    for split, count in (("train", 8), ("test", 4)):
        (tmp_path / split).mkdir()
        rows = []
        for number in range(count):
            place = tmp_path / split / f"{number}.png"
            quarters(30 + number).save(place)
            rows.append({"image": str(place), "label": number % 2})
        part = datasets.Dataset.from_list(rows, features=features)
        part.to_parquet(folder / f"{split}.parquet")
    (folder / "README.md").write_text("# Photos")
    hub.add("datasets/some/photos", folder)
    found = read_images("some/photos", FinetuneConfig(validation_share=0.25), tmp_path / "files")
    assert {name: len(part) for name, part in found.splits.items()} == {
        "train": 6,
        "validation": 2,
        "test": 4,
    }
    taught = read_examples(Path("some/photos"), tmp_path / "taught")
    assert (taught.class_names, len(taught.paths)) == (labels, 8)
    judged = read_labelled_images("some/photos", tmp_path / "judged")
    assert len(judged.paths) == 4
    assert judged.notes[0] == "Of some/photos the test split is used."
    read = [np.asarray(Image.open(path)) for path in (judged.paths[0], tmp_path / "test" / "0.png")]
    assert np.array_equal(*read)
    assert (taught.source, judged.source) == ("some/photos (train)", "some/photos (test)")
    for label in labels:
        (tmp_path / "mine" / label).mkdir(parents=True)
        quarters(50).save(tmp_path / "mine" / label / f"{label}.png")
    beside = with_splits("some/photos", tmp_path / "mine")
    found = read_images(beside, FinetuneConfig(), tmp_path / "beside")
    assert [len(found.splits[name]) for name in ("train", "validation", "test")] == [8, 2, 4]
    with pytest.raises(DataError, match="no file or folder some/none, and no data set"):
        read_images("some/none", FinetuneConfig())
    monkeypatch.chdir(tmp_path)
    for missing in ("some/none.png", "photos", "./some", "../some", "-"):
        with pytest.raises(DataError, match="There is no file or folder"):
            read_images(missing, FinetuneConfig())
