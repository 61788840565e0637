"""Laws of embedding many pictures: in order, in bounded memory, by several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from footwork.arrays import FloatArray
from footwork.encoder.dual import DualEncoder, TextTower
from footwork.encoder.streaming import PictureStream
from footwork.errors import ImageError, ModelError
from tests.dual_encoders import build_dual_encoder, draw_image, load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dual_encoder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("pictures")
    return [draw_image(root / f"{seed}.png", (60, 40 + seed), seed) for seed in range(23)]


@pytest.fixture
def clip(folder: Path) -> DualEncoder:
    return load(folder)


def test_files_come_back_in_order_with_their_faults(
    clip: DualEncoder, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:200])
    bad = [tmp_path / "text.jpg", tmp_path / "cut.png", tmp_path / "missing.png"]
    paths = [*pictures[:7], bad[0], *pictures[7:], bad[1], bad[2], pictures[0]]
    expected = iter(clip.encode_images([path for path in paths if path not in bad]))
    encoder = load(Path(clip.model_id), workers=3, batch_size=4)
    found = list(encoder.encode_files(iter(paths)))
    assert [one.path for one in found] == paths
    for one in found:
        if one.path in bad:
            assert one.embedding is None
            assert one.fault
        else:
            assert one.fault is None
            assert one.embedding is not None
            assert_allclose(one.embedding, next(expected), atol=1e-6)
    assert found[-2].fault == "it does not exist"


def test_a_picture_that_must_be_read_raises_why_not(
    clip: DualEncoder, pictures: list[Path]
) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: it does not exist"):
        clip.encode_images([*pictures, Path("gone.png"), *pictures])


def test_memory_that_runs_out_makes_smaller_batches_of_the_same_rows(
    folder: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(folder, batch_size=16, workers=1)
    texts = [*["a cat"] * 9, "the service", "the"]
    images, words = encoder.encode_images(pictures), encoder.encode_texts(texts)
    sizes = limit_memory(monkeypatch, rows=3)
    found = [one.embedding for one in encoder.encode_files(pictures)]
    assert_allclose(np.array(found), images, atol=1e-6)
    assert max(sizes) > 8
    assert encoder.batch.size == 2  # what is yet to come is not tried at a size that failed
    assert_allclose(encoder.encode_texts(texts), words, atol=1e-6)


def test_a_model_that_no_picture_fits_beside_says_so(
    clip: DualEncoder, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, rows=0)
    with pytest.raises(ModelError, match="One image does not fit into memory beside the model"):
        list(clip.encode_files(pictures))
    with pytest.raises(ModelError, match="One text does not fit"):
        clip.encode_texts(["a cat"])


def limit_memory(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """Let both towers run out of memory above `rows` rows; gives the sizes that were tried."""
    sizes: list[int] = []
    for tower in (PictureStream, TextTower):
        forward = tower._forward

        def limited(self: Any, batch: Sequence[Any], forward: Any = forward) -> FloatArray:
            sizes.append(len(batch))
            if len(batch) > rows:
                raise torch.OutOfMemoryError
            return forward(self, batch)

        monkeypatch.setattr(tower, "_forward", limited)
    return sizes


def test_another_failure_is_not_taken_for_want_of_memory(
    clip: DualEncoder, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: PictureStream, _batch: Sequence[Any]) -> FloatArray:
        raise RuntimeError("an illegal instruction")

    monkeypatch.setattr(PictureStream, "_forward", fail)
    with pytest.raises(RuntimeError, match="an illegal instruction"):
        clip.encode_images(pictures)


def test_encoding_leaves_the_threads_of_others_alone(
    clip: DualEncoder, pictures: list[Path]
) -> None:
    def threads_elsewhere() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return found[0]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        stream = clip.encode_files(pictures)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert (torch.get_num_threads(), threads_elsewhere()) == (2, 2)
    finally:
        torch.set_num_threads(before)


EMBED_IN_PROCESSES = """
import sys
from pathlib import Path
import numpy as np
from footwork.accelerator import is_main_process, number_of_processes
from footwork.encoder.dual import DualEncoder
from footwork.options import EncoderConfig
from footwork.encoder import streaming

streaming.GATHERED = 4  # so that there are several exchanges
encoder = DualEncoder(sys.argv[1], config=EncoderConfig(precision="float32"))
found = list(encoder.encode_files([Path(name) for name in sys.argv[3:]]))
assert number_of_processes() == 2
if is_main_process():
    rows = [np.zeros(encoder.width) if one.fault else one.embedding for one in found]
    np.savez(sys.argv[2], rows=np.array(rows), paths=[str(one.path) for one in found])
"""


def test_two_processes_give_the_rows_of_one(
    clip: DualEncoder, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "embed.py").write_text(EMBED_IN_PROCESSES)
    paths = [*pictures[:5], tmp_path / "gone.png", *pictures[5:]]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(tmp_path / "embed.py"), clip.model_id, str(tmp_path / "rows.npz")]
    done = subprocess.run(
        [*command, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "rows.npz")
    assert found["paths"].tolist() == [str(path) for path in paths]
    expected = np.insert(clip.encode_images(pictures), 5, 0, axis=0)
    assert_allclose(found["rows"], expected, atol=1e-6)
