"""Each test has a cache of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.towers import Exports
    from zeroshot.labelled_images import LabelledImages


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("footwork-home")
    monkeypatch.setenv("FOOTWORK_HOME", str(home))
    return home


@pytest.fixture
def mixed(tmp_path: Path) -> LabelledImages:
    from tests.zeroshot.labelled import MIXED, collection

    return collection(tmp_path / "mixed", MIXED)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of drawn images; no test changes them."""
    from tests.zeroshot.image_towers import draw_classes

    return draw_classes(tmp_path_factory.mktemp("examples") / "colours")


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small ViT that knows none of them."""
    from tests.zeroshot.image_towers import build_tower

    return str(build_tower(tmp_path_factory.mktemp("vit"), "vit"))


@pytest.fixture(scope="session")
def adapter(vit: str, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of LoRA, over `vit`, which has learned `examples`."""
    from tests.runs import finetune_here
    from tests.zeroshot.image_towers import QUICK
    from zeroshot import FinetuneConfig

    out = tmp_path_factory.mktemp("adapter") / "out"
    finetune_here(examples, out, FinetuneConfig(model_id=vit, method="lora", **QUICK))
    return out


@pytest.fixture(scope="session")
def drawn_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.zeroshot.test_cli import draw_folder

    return draw_folder(tmp_path_factory.mktemp("drawn") / "photos")


@pytest.fixture(scope="session")
def drawn_index(
    drawn_photos: Path, tmp_path_factory: pytest.TempPathFactory, exports: Exports
) -> Path:
    from tests.zeroshot.indexed import indexed

    with exports.once():
        return indexed(drawn_photos, tmp_path_factory.mktemp("indexes") / "photos.index")


@pytest.fixture
def photos(drawn_photos: Path) -> Path:
    """Of `index`; no test changes them."""
    return drawn_photos


@pytest.fixture
def index(drawn_index: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawn_index, tmp_path / "photos.index")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be decoded without it."""
    from footwork.errors import ModelError

    def refuse(*_: object) -> None:
        raise ModelError("The model was loaded.")

    monkeypatch.setattr("zeroshot.indexed.load_model", refuse)
