"""What was pushed to the Hub, used by its name."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from footwork.cli import main
from footwork.errors import ConfigError, ModelError
from footwork.finetuning.merge import merge_adapter
from footwork.models.hub import trained_folder
from tests.hub import COMMIT, Hub, keep_repository
from tests.models import build_adapter, build_base, build_classifier
from tests.runs import finetune_here
from tests.tables import sentiment_table
from tests.zeroshot.image_towers import QUICK, build_tower, draw_classes
from textclf import TextClassifier, predict_rows
from textclf.task import TextTask
from zeroshot import FinetuneConfig, FinetunedClassifier, TaughtClassifier, evaluate

TEXTS = ["the film was good", "a dull book"]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder that is kept as owner/reviews."""
    folder = build_adapter(tmp_path / "adapter", build_base(tmp_path / "base", "bert"))
    (folder / "README.md").write_text(
        'footwork textclf predict owner/reviews texts.csv\nTextClassifier.load("owner/reviews")\n'
    )
    keep_repository(folder, "owner/reviews")
    return folder


def test_a_classifier_of_texts_answers_by_its_name(adapter: Path, tmp_path: Path) -> None:
    expected = TextClassifier.load(adapter).predict_proba(TEXTS)
    for revision in (None, "main", COMMIT):
        named = TextClassifier.load("owner/reviews", revision=revision)
        assert np.array_equal(named.predict_proba(TEXTS), expected)
    named.save(tmp_path / "saved")
    assert np.array_equal(TextClassifier.load(tmp_path / "saved").predict_proba(TEXTS), expected)


def test_every_command_of_texts_takes_a_name(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(sentiment_table(tmp_path / "data.csv", 8))
    for command in ("predict", "evaluate"):
        assert main(["textclf", command, str(adapter), table]) == 0
        expected = capsys.readouterr().out
        assert main(["textclf", command, "owner/reviews", table, "--revision", "main"]) == 0
        shown = capsys.readouterr()
        assert shown.out == expected
        assert "owner/reviews is no folder here: taken from the Hub, at commit c0ffee" in shown.err
    assert main(["textclf", "merge", "owner/reviews", str(tmp_path / "plain")]) == 0
    assert "owner/reviews is no folder here" in capsys.readouterr().err
    card = (tmp_path / "plain" / "README.md").read_text()
    assert card == card.replace("owner/reviews", "")
    assert 'TextClassifier.load("path/to/this/folder")' in card
    with pytest.raises(ConfigError, match="exists"):
        merge_adapter(TextTask(), "owner/reviews", tmp_path / "plain")


def test_a_folder_of_that_name_wins_and_has_no_revision(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = build_classifier(tmp_path / "owner" / "reviews", labels=("left", "right"))
    assert TextClassifier.load("owner/reviews").labels == ("left", "right")
    with pytest.raises(ConfigError, match="owner/reviews names a folder of this machine"):
        TextClassifier.load("owner/reviews", revision="main")
    shutil.rmtree(other)
    assert TextClassifier.load("owner/reviews").labels == ("negative", "positive")
    assert adapter.exists()


@pytest.mark.parametrize(
    "name", ["reviews", "./owner/reviews", "owner/reviews/", "a/b/c", "/o/r", "~no user/r"]
)
def test_what_is_no_name_of_a_repository_is_a_folder(name: str) -> None:
    assert trained_folder(name) == Path(name)


def test_a_repository_without_a_model_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "notes.txt").touch()
    hub.add("owner/empty", tmp_path / "nothing")
    with pytest.raises(
        ModelError, match=r"owner/empty holds no config\.json.* it holds notes\.txt"
    ):
        trained_folder("owner/empty")


def test_a_model_without_a_head_is_told_by_its_name(hub: Hub, tmp_path: Path) -> None:
    hub.add("some/model", build_base(tmp_path / "base", "bert"))
    with pytest.raises(ModelError, match=r"^some/model is no finished classifier: .*--model some"):
        TextClassifier.load("some/model")


def test_what_was_changed_on_the_hub_or_is_of_another_kind_is_told_by_its_name(
    hub: Hub, adapter: Path, tmp_path: Path
) -> None:
    manifest = json.loads((adapter / "footwork.json").read_text()) | {"application": "textclf"}
    (adapter / "footwork.json").write_text(json.dumps(manifest))
    hub.add("owner/texts", adapter)
    with pytest.raises(ModelError, match="owner/texts classifies texts, not images: footwork text"):
        TaughtClassifier.load("owner/texts")
    folder = Path(shutil.copytree(adapter, tmp_path / "changed"))
    changed = manifest | {"files": {"config.json": "0" * 64}}
    (folder / "footwork.json").write_text(json.dumps(changed))
    hub.add("owner/changed", folder)
    said = r"/owner/changed is not as Footwork published it, .*: config\.json is not .* tell its ow"
    with pytest.raises(ModelError, match=said):
        TextClassifier.load("owner/changed")


@pytest.mark.parametrize(("name", "revision"), [("owner/none", None), ("owner/reviews", "v9")])
def test_what_is_neither_here_nor_there_is_told(
    name: str, revision: str | None, adapter: Path
) -> None:
    assert adapter.exists()
    for ask in (TextClassifier.load, partial(predict_rows, data=[]), partial(evaluate, data=[])):
        with pytest.raises(ModelError, match=f"no folder {name} here. HF_HUB_OFFLINE is set"):
            ask(name, revision=revision)


def test_classifiers_of_images_answer_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples, base = draw_classes(tmp_path / "examples"), build_tower(tmp_path / "vit", "vit")
    config = FinetuneConfig(model_id=str(base), **QUICK)
    finetune_here(examples, tmp_path / "tuned", config)
    taught = ["zeroshot", "teach", str(examples), str(tmp_path / "taught"), "--model", "tiny"]
    assert main(taught) == 0
    photos = str(examples / "navy")
    for name in ("tuned", "taught"):
        keep_repository(tmp_path / name, f"owner/{name}")
        command = ["zeroshot", "label", photos, "--taught"]
        capsys.readouterr()
        assert main([*command, str(tmp_path / name)]) == 0
        expected = capsys.readouterr().out
        assert main([*command, f"owner/{name}", "--revision", COMMIT]) == 0
        shown = capsys.readouterr()
        assert shown.out == expected
        assert f"owner/{name} is no folder here: taken from the Hub" in shown.err
        assert main([*command, str(tmp_path / name), "--revision", "main"]) == 2
    tuned = FinetunedClassifier.load("owner/tuned", revision="main")
    with pytest.raises(ConfigError, match="`revision` is for loading, and this classifier is"):
        evaluate(tuned, examples, revision="main")
    assert tuned.labels == TaughtClassifier.load("owner/taught", revision="main").labels
    judged = ["zeroshot", "evaluate", str(examples), "--taught", "owner/taught"]
    assert main([*judged, "--compare", "{}"]) == 0
