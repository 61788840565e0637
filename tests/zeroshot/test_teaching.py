"""From a folder of examples to a published classifier, and back from the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from footwork.errors import ConfigError, DataError, ModelError
from footwork.fewshot.forecast import Candidates, forecast_text, suggest
from footwork.fewshot.knowledge import WEIGHTS, Thresholds
from footwork.fewshot.methods import METHODS
from footwork.files.folders import MANIFEST
from footwork.prompts.templates import spoken
from tests.zeroshot.labelled import EXAMPLES, touched
from tests.zeroshot.stand_in import StandInEncoder
from zeroshot.labelled_images import read_examples
from zeroshot.options import TeachOptions
from zeroshot.taught import TaughtClassifier, TaughtRun, teach, teach_files

DEFAULTS = TeachOptions()
MORE = ["robin in rain", "lion on rock", "whale song", "robin next to lion", "a toaster"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touched(tmp_path / "examples", EXAMPLES)


def taught(folder: Path, options: TeachOptions = DEFAULTS) -> TaughtRun:
    return teach_files(StandInEncoder(), read_examples(folder), folder.parent / "out", options)


def new_pictures(folder: Path) -> list[Path]:
    new = touched(folder.parent, {"new": MORE}) / "new"
    return [new / f"{name}.jpg" for name in MORE]


@pytest.mark.parametrize("method", METHODS)
def test_what_was_taught_is_known_after_loading(folder: Path, method: str) -> None:
    run = taught(folder, TeachOptions(method=method, refused=None))  # type: ignore[arg-type]
    loaded = TaughtClassifier.load(run.folder, StandInEncoder())
    paths = new_pictures(folder)
    found = loaded.predict(paths)
    assert [one.label for one in found[:3]] == ["red_bird", "big-cat", "whale"]
    assert found == run.classifier.predict(paths)
    paths.insert(2, folder.parent / "new" / "broken.jpg")
    streamed = list(loaded.label_files(paths))
    assert [one.path for one in streamed] == paths
    broken = streamed.pop(2)
    assert (broken.fault, broken.familiarity, broken.doubt) == ("it ends too early", None, None)
    assert [one.label for one in streamed] == [one.label for one in found]
    assert {path.name for path in run.folder.iterdir()} == {MANIFEST, WEIGHTS}


def test_a_fresh_process_predicts_the_same(folder: Path) -> None:
    run = taught(folder)
    embeddings = StandInEncoder().encode_images(MORE)
    np.save(folder.parent / "new.npy", embeddings)
    code = (
        "import sys, json, numpy as np\n"
        "from zeroshot.taught import TaughtClassifier\n"
        "loaded = TaughtClassifier.load(sys.argv[1])\n"
        "print(json.dumps(loaded.answers(np.load(sys.argv[2])).probabilities.tolist()))\n"
        "assert 'torch' not in sys.modules\n"
    )
    words = [sys.executable, "-c", code, str(run.folder), str(folder.parent / "new.npy")]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert json.loads(answer) == run.classifier.predict_proba(MORE).tolist()


def test_the_manifest_says_what_was_done(folder: Path) -> None:
    run = taught(folder, TeachOptions(method="tip-adapter", seed=3))
    manifest = json.loads((run.folder / MANIFEST).read_text("utf-8"))
    assert manifest.pop("files").keys() == {WEIGHTS}
    assert manifest.pop("sha256")
    assert manifest == json.loads(json.dumps(run.manifest))
    assert manifest["labels"] == ["big-cat", "red_bird", "whale"]
    assert manifest["model"]["fingerprint"] == "stand-in"
    assert manifest["data"]["examples"] == {"big-cat": 4, "red_bird": 4, "whale": 4}
    assert manifest["method"] == "tip-adapter"
    assert manifest["seed"] == 3
    assert manifest["forecast"]["method"]["setting"]["sharpness"] > 0
    assert manifest["forecast"]["method"]["classifiers"] == 4


def test_the_forecast_stands_next_to_zero_shot(folder: Path) -> None:
    run = taught(folder, TeachOptions(compare=True))
    said = forecast_text(run.manifest["forecast"], run.manifest["thresholds"], "images")
    lines = {line.split()[0]: line for line in said.splitlines()[1:8]}
    assert set(lines) == {"zero-shot", *METHODS}
    # The words know none of `robin`, `lion`; the examples do.
    forecast = run.manifest["forecast"]
    assert forecast["method"]["accuracy"]["value"] > forecast["zero_shot"]["value"]
    assert "0 is a usual example" in said


def test_class_names_are_read_as_words(folder: Path) -> None:
    encoder = StandInEncoder()
    teach_files(encoder, read_examples(folder), folder.parent / "out", TeachOptions())
    assert "a photo of a red bird." in encoder.encoded
    assert "a photo of a big cat." in encoder.encoded
    assert spoken("t-shirt__long") == "t shirt long"


def test_examples_alone_embed_no_words(folder: Path) -> None:
    encoder = StandInEncoder()
    run = teach_files(encoder, read_examples(folder), folder.parent / "out", TeachOptions(words=0))
    assert encoder.encoded == []
    assert set(load_file(run.folder / WEIGHTS)) == {
        *("head.weights", "head.bias", "familiarity.middle", "familiarity.directions")
    }
    again = TaughtClassifier.load(run.folder, StandInEncoder())
    assert again.predict([Path("robin.jpg")])[0].scores["red_bird"] > 0.5


def test_an_image_like_none_of_the_classes_gets_no_label(folder: Path) -> None:
    run = taught(folder)
    *_, toaster = run.classifier.predict(new_pictures(folder))
    assert toaster.label is None
    assert toaster.labels == ()
    assert toaster.doubt == "unfamiliar"
    assert toaster.score == max(toaster.scores.values())


def test_an_uncertain_image_gets_no_label_where_that_is_asked(folder: Path) -> None:
    found = taught(folder).classifier.thresholds
    loaded = TaughtClassifier.load(folder.parent / "out", StandInEncoder(), 1)
    assert loaded.thresholds == Thresholds(1, found.familiar_from)
    robin, toaster = loaded.predict([Path("robin.jpg"), Path("a toaster.jpg")])
    assert (robin.label, robin.doubt) == (None, "unsure")
    assert (toaster.label, toaster.doubt) == (None, "unfamiliar")
    with pytest.raises(ConfigError, match="`abstain_below` must be a probability"):
        TaughtClassifier.load(folder.parent / "out", abstain_below=1.5)


def test_another_encoder_is_refused_by_name(folder: Path) -> None:
    run = taught(folder)
    with pytest.raises(ModelError, match=r"taught on embeddings of .*\(stand-in\).*\(other\)"):
        TaughtClassifier.load(run.folder, StandInEncoder(fingerprint="other"))


def test_embeddings_of_another_width_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(N, 256\)"):
        taught(folder).classifier.answers(np.zeros((2, 5)))


def test_a_folder_that_was_not_taught_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no taught classifier"):
        TaughtClassifier.load(folder)
    other = {"application": "zeroshot", "kind": "finetuned"}
    for manifest, said in (
        ({"application": "else"}, "holds no taught classifier. Make one: footwork zeroshot teach"),
        ({"application": "textclf"}, "classifies texts, not images"),
        (other, r"holds a fine-tuned model\. Load it by FinetunedClassifier\.load"),
    ):
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(ModelError, match=said):
            TaughtClassifier.load(tmp_path)
    with pytest.raises(ModelError, match=r"There is no folder .*absent\. Make one: .* teach"):
        TaughtClassifier.load(tmp_path / "absent")


@pytest.mark.parametrize("damage", ["cut", "gone", "lacking"])
def test_a_damaged_folder_is_told(folder: Path, damage: str) -> None:
    run = taught(folder)
    weights = run.folder / WEIGHTS
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "gone":
        weights.unlink()
    else:
        manifest = json.loads((run.folder / MANIFEST).read_text("utf-8"))
        del manifest["knowledge"]
        del manifest["sha256"]
        (run.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"Teach it again|is not as it was published"):
        TaughtClassifier.load(run.folder)


def test_an_unreadable_example_is_left_out_and_listed(folder: Path) -> None:
    (folder / "whale" / "broken.jpg").touch()
    run = taught(folder)
    [skipped] = run.skipped
    assert Path(skipped.place).name == "broken.jpg"
    assert skipped.reason == "it ends too early"
    assert run.manifest["data"]["examples"]["whale"] == 4


def test_a_class_of_unreadable_examples_is_refused(folder: Path) -> None:
    (folder / "mole").mkdir()
    (folder / "mole" / "broken.jpg").touch()
    with pytest.raises(
        DataError, match=r"The class 'mole' has no image\. .*broken.*too early\. Add"
    ):
        taught(folder)
    assert not (folder.parent / "out").exists()


def test_a_class_that_a_table_names_in_vain_is_refused_and_its_bad_rows_are_told(
    folder: Path,
) -> None:
    paths = sorted(folder.rglob("*.jpg"))
    rows = [
        {"path": path, "label": [int("li" in path.stem), int("li" not in path.stem)]}
        for path in paths
    ]
    bad = {"path": None, "label": [0, 1]}
    options, out = TeachOptions(words=0), folder.parent / "out"
    run = teach_files(StandInEncoder(), read_examples([*rows, bad]), out, options)
    assert [str(skipped) for skipped in run.skipped] == [
        "list of rows, row 13: it names no image file."
    ]
    for row in (*rows, bad):
        row["label"] = [*row["label"], 0]
    with pytest.raises(DataError, match=r"'2' has no image\. list of rows, row 13: it names"):
        teach_files(StandInEncoder(), read_examples([*rows, bad]), out, options, overwrite=True)


def test_an_image_in_memory_is_named_by_its_row(tmp_path: Path) -> None:
    rows = [{"image": np.zeros((8, 8, 3), np.uint8), "label": n % 2} for n in range(4)]
    encoder = StandInEncoder()
    alike = encoder.encode_images([Path("alike.jpg")])
    encoder.encode_images = lambda _: alike  # type: ignore[method-assign]
    images, options = read_examples(rows, tmp_path), TeachOptions(words=0, refused=None)
    run = teach_files(encoder, images, tmp_path / "out", options, files=tmp_path)
    assert any("several labels: row 1, column 1 (0), row 2, column 1 (1)" in n for n in run.notes)


def test_what_exists_is_not_overwritten_by_chance(folder: Path) -> None:
    run = taught(folder)
    files = read_examples(folder)
    with pytest.raises(ConfigError, match="exists"):
        teach(folder, run.folder)
    with pytest.raises(ConfigError, match="`existing` must be one of refuse, overwrite"):
        teach(folder, run.folder, existing="replace")
    options = TeachOptions(method="prototypes")
    teach_files(StandInEncoder(), files, run.folder, options, overwrite=True)
    assert TaughtClassifier.load(run.folder).manifest["method"] == "prototypes"


def test_it_says_which_images_to_label_next(folder: Path) -> None:
    new_pictures(folder)
    (folder.parent / "new" / "a lion.jpg").touch()  # an example already
    (folder.parent / "new" / "broken.jpg").touch()
    (folder.parent / "new" / "raw.cr2").touch()
    with pytest.raises(DataError, match="Cannot find 'gone'"):  # before anything is embedded
        teach_files(None, read_examples(folder), folder, TeachOptions(unlabelled=(Path("gone"),)))  # type: ignore[arg-type]
    run = taught(folder, TeachOptions(unlabelled=(folder.parent / "new",), suggestions=2))
    assert [one.path.stem for one in run.suggestions] == ["robin next to lion", "a toaster"]
    assert run.suggestions[1].reason.startswith("like none of the classes; nearest to")
    assert [Path(one.place).name for one in run.skipped] == ["broken.jpg"]
    said = run.to_text()
    assert said.startswith(f"{run.folder} was taught 3 classes by 12 images: discriminant")
    assert "Expected accuracy on new images of the kind (95 % interval):" in said
    assert f"Label these next:\n  {run.suggestions[0].path}: " in said
    assert "1 file of kinds that are not read: 1 .cr2." in run.notes
    told = [each["path"] for each in run.manifest["label_next"]]
    assert told == [str(one.path) for one in run.suggestions]


def test_a_suggestion_is_no_repetition_of_an_earlier_one() -> None:
    rows = np.eye(4)[[0, 0, 1, 2]]
    halves = np.tile([0.5, 0.5], (4, 1))
    candidates = Candidates(rows, halves, np.zeros(4, dtype=bool))
    chosen = suggest(candidates, np.eye(4)[3:], ("cat", "dog"), 10)
    assert [number for number, _ in chosen] == [0, 2, 3]
    assert chosen[0][1] == "cat (50%) or dog (50%)"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "holds no image. Examples stand in one sub-folder a class"),
        (["loose.jpg"], "holds 1 image but no sub-folder"),
        (["cat/1.jpg"], "has one class, 'cat': nothing to tell it from"),
        (["cat/1.jpg", "dog/readme.txt"], "The class 'dog' has no image. No image in"),
        (["cat/1.jpg", "None/2.jpg"], "The class 'None' reads like the answer"),
        (["t-shirt/1.jpg", "t_shirt/2.jpg"], "'t-shirt' and 't_shirt' read the same"),
        (["cat/1.jpg", "___/2.jpg"], "The class '___' has no word in its name"),
        (["cat/1.jpg", "caf\udce9/2.jpg"], r"cannot be printed: 'caf\\udce9'"),
        (["test/a/1.jpg", "train/a/1.jpg", "more/a/1.jpg"], r"splits test, train and .*: more\."),
    ],
)
def test_folders_that_cannot_teach_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / "examples" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "examples" / name).touch()
    (tmp_path / "examples").mkdir(exist_ok=True)
    with pytest.raises((ConfigError, DataError), match=said):
        read_examples(tmp_path / "examples")


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file or folder .*absent"):
        read_examples(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file"):
        read_examples(tmp_path / "file")


def test_images_beside_the_class_folders_are_noted(folder: Path) -> None:
    (folder / "loose.jpg").touch()
    (folder / ".hidden").mkdir()
    files = read_examples(folder)
    assert files.class_names == ("big-cat", "red_bird", "whale")
    assert files.notes == ("1 image beside the class folders belongs to no class.",)


def test_teaching_costs_no_torch_to_import() -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'PIL'}"
    code = f"import sys, zeroshot.taught; assert not {heavy} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_of_the_first_version_answers_the_same(folder: Path) -> None:
    run = taught(folder)
    expected = run.classifier.predict_proba(MORE)
    manifest = json.loads((run.folder / MANIFEST).read_text("utf-8"))
    del manifest["sha256"]
    blend, familiarity = manifest["knowledge"]["blend"], manifest["knowledge"]["familiarity"]
    blend["temperature"] = 1.0 / blend.pop("softmax_temperature")  # it multiplied then
    familiarity["standing"] = familiarity.pop("z_score")
    (run.folder / MANIFEST).write_text(json.dumps(manifest))
    again = TaughtClassifier.load(run.folder, StandInEncoder())
    found = again.predict_proba(MORE)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    paths = new_pictures(folder)
    pairs = zip(again.predict(paths), run.classifier.predict(paths), strict=True)
    assert all(old.familiarity == new.familiarity for old, new in pairs)
