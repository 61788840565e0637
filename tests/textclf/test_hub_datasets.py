"""Data sets of the hub: which parts, and what each refusal says."""

from __future__ import annotations

from pathlib import Path

import datasets.config
import pytest
from huggingface_hub import constants

from footwork.errors import ConfigError, DataError
from footwork.tables.layout import TableFormat
from tests.hub import OTHER_TOKEN, Hub
from textclf.sources import read_tables

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
        (
            "some/nothing",
            None,
            r"no file or folder some/nothing, and no data set http.*/datase",
        ),
        (
            "some..data",
            None,
            r"no file or folder some\.\.data, and http.* gives no data set of this",
        ),
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
