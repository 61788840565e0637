"""A text half by itself answers as the whole model does, and needs nothing of torch."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from footwork.encoder import onnx_export
from footwork.encoder.dual import DualEncoder
from footwork.encoder.onnx_export import export_text_tower, siglip_tokenizer
from footwork.encoder.onnx_text import OnnxTextTower
from footwork.errors import ModelError
from footwork.prompts.none_of_these import REFERENCE_WORDS
from tests.dual_encoders import FAMILIES, build_dual_encoder

SAME_TEXT_HALF = {"clipseg", "siglip2-naflex"}  # as clip's and siglip2's
EXPORTED = (*sorted(set(FAMILIES) - SAME_TEXT_HALF), "tiny")
TEXTS = (
    *("a cat", "the", "at the", "A Red Circle!", "naïve — кот 🙂", "", "   ", "a  cat\n"),
    *("what a good book " * 40, "x" * 300, "the price and the food"),
)
ALONE = """
import json, sys
from pathlib import Path
from footwork.encoder.onnx_text import OnnxTextTower
tower = OnnxTextTower.load(Path(sys.argv[1]))
texts = json.loads(sys.stdin.read())
rows = tower.encode_texts(texts).tolist()
tower.cut_texts(texts)
heavy = [name for name in ("torch", "transformers", "onnx", "onnxscript") if name in sys.modules]
print(json.dumps({"rows": rows, "heavy": heavy}))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DualEncoder]:
    root = tmp_path_factory.mktemp("encoders")
    built = {name: str(build_dual_encoder(root / name, name)) for name in EXPORTED[:-1]}
    return {name: DualEncoder(built.get(name, name)) for name in EXPORTED}


@pytest.fixture(scope="module")
def folders(
    models: dict[str, DualEncoder], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("towers")
    for name, encoder in models.items():
        (root / name).mkdir()
        export_text_tower(encoder, root / name)
    return {name: root / name for name in models}


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["clip"], tmp_path / "tower"))


def test_the_tower_needs_no_torch(models: dict[str, DualEncoder], folders: dict[str, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(folders["siglip"])],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    found = json.loads(done.stdout)
    assert not done.stderr
    assert found["heavy"] == []
    assert_allclose(found["rows"], models["siglip"].encode_texts(TEXTS), atol=1e-4)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_tower_answers_as_the_model_and_each_text_as_if_it_were_alone(
    models: dict[str, DualEncoder], folders: dict[str, Path], name: str
) -> None:
    tower = OnnxTextTower.load(folders[name])
    together = tower.encode_texts(TEXTS)
    assert_allclose(together, models[name].encode_texts(TEXTS), atol=1e-4)
    assert tower.cut_texts(TEXTS) == models[name].cut_texts(TEXTS)
    assert 8 in tower.cut_texts(TEXTS)
    assert_allclose(np.concatenate([tower.encode_texts([t]) for t in TEXTS]), together, atol=1e-5)
    assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert together.dtype == np.float32


def test_what_scores_need_is_kept(models: dict[str, DualEncoder], folders: dict[str, Path]) -> None:
    for name, encoder in models.items():
        tower = OnnxTextTower.load(folders[name])
        assert tower.logit_scale == encoder.logit_scale
        assert tower.logit_bias == encoder.logit_bias
        assert tower.width == encoder.width
        assert tower.max_text_tokens == encoder.max_text_tokens


def test_no_texts_give_no_rows_and_one_string_is_refused(folders: dict[str, Path]) -> None:
    tower = OnnxTextTower.load(folders["tiny"])
    assert tower.encode_texts([]).shape == (0, tower.width)
    assert tower.cut_texts([]) == []
    with pytest.raises(TypeError, match="must be a list or the like, got one text"):
        tower.encode_texts("a cat")


def test_the_folder_holds_the_text_half_only(
    models: dict[str, DualEncoder], folders: dict[str, Path]
) -> None:
    names = {"text.onnx", "text.onnx.data", "tokenizer.json", "text.json"}
    for name, encoder in models.items():
        assert {path.name for path in folders[name].iterdir()} == names
        text_half = sum(
            parameter.nbytes
            for part, parameter in encoder.text_tower.model.named_parameters()
            if not part.startswith("vi")
        )
        assert (folders[name] / "text.onnx.data").stat().st_size < 1.1 * text_half


def test_exporting_is_silent_and_leaves_the_model_as_it_was(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = DualEncoder("tiny")
    before = encoder.encode_texts(TEXTS)
    parts = [name for name, _ in encoder.text_tower.model.named_modules()]
    export_text_tower(encoder, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert [name for name, _ in encoder.text_tower.model.named_modules()] == parts
    assert_array_equal(encoder.encode_texts(TEXTS), before)
    assert os.listdir(tmp_path)  # noqa: PTH208 - names are enough
    assert (tmp_path / "text.json").read_bytes() == (folders["tiny"] / "text.json").read_bytes()


def test_exports_side_by_side_leave_what_others_log_as_it_was() -> None:
    exporters, filters = logging.getLogger("onnxscript"), list(warnings.filters)
    before, first, second = exporters.level, onnx_export._silence(), onnx_export._silence()
    with first:
        second.__enter__()  # of another thread, which goes on longer
    assert exporters.level == logging.ERROR
    assert logging.root.manager.disable == logging.NOTSET
    second.__exit__(None, None, None)
    assert (exporters.level, warnings.filters) == (before, filters)


def test_siglips_own_tokenizer_has_its_equal(models: dict[str, DualEncoder]) -> None:
    tokenizer = models["siglip"].text_tower.tokenizer
    equal = siglip_tokenizer(tokenizer)
    odd = ("_", "a_b", "▁x", "¼ cup", "What, A  Good-Book?!", "\ta\n", "</ s>", "ß", "e\u0301")
    for text in (*TEXTS, *odd, *REFERENCE_WORDS):
        expected = tokenizer(text, truncation=True, max_length=999)["input_ids"]
        assert equal.encode(text).ids == expected, text


def test_a_tokenizer_without_an_equal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddTokenizer:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __call__(self, *texts: Any, **options: Any) -> Any:
            return self._inner(*texts, **options)

        def __getattr__(self, name: str) -> Any:
            if name == "backend_tokenizer":
                raise AttributeError(name)
            return getattr(self._inner, name)

    tower = DualEncoder("tiny")
    odd = OddTokenizer(tower.text_tower.tokenizer)
    monkeypatch.setattr(tower.text_tower, "tokenizer", odd)
    with pytest.raises(ModelError, match=r"OddTokenizer exists in transformers only\. Queries"):
        export_text_tower(tower, tmp_path)


def test_a_tower_that_answers_otherwise_is_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_graph(*_: object) -> None:
        shutil.copytree(folders["tiny"], tmp_path, dirs_exist_ok=True)

    encoder = DualEncoder("tiny")
    monkeypatch.setattr("footwork.encoder.onnx_export._export_graph", copy_graph)
    monkeypatch.setattr(encoder.text_tower, "embed", lambda texts: np.ones((len(texts), 96)))
    with pytest.raises(ModelError, match=r"its answer for '.*' differs by"):
        export_text_tower(encoder, tmp_path)


def test_a_model_that_cannot_be_traced_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = DualEncoder("tiny")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ModelError, match=r"CLIPModel cannot .* without torch: no such operator\."):
        export_text_tower(encoder, tmp_path)


@pytest.mark.parametrize("name", ["text.onnx", "text.onnx.data", "tokenizer.json", "text.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_folder_says_to_index_again(copied: Path, name: str, damage: str) -> None:
    path = copied / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(ModelError, match=r"cannot be read \(.+\)\. footwork search doctor"):
        OnnxTextTower.load(copied)


def test_another_format_and_weights_that_are_no_numbers_are_refused(copied: Path) -> None:
    weights = copied / "text.onnx.data"
    weights.write_bytes(b"\xff" * weights.stat().st_size)
    with pytest.raises(ModelError, match=r"no embeddings of \d+ numbers: it is damaged\. foot"):
        OnnxTextTower.load(copied).encode_texts(["a cat"])
    settings = json.loads((copied / "text.json").read_text())
    (copied / "text.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(ModelError, match=r"format 99, known is 1\)\. footwork search doctor --r"):
        OnnxTextTower.load(copied)
