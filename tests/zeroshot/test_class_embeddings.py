"""One vector a class, made once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from footwork.arrays import FloatArray
from footwork.prompts import class_embeddings as module
from footwork.prompts.class_embeddings import EmbeddingCache, prompt_embeddings
from footwork.prompts.templates import NAMED, Prompts
from tests.zeroshot.stand_in import WIDTH, StandInEncoder

NAMES = ["cat", "dog", "fire truck"]
TEMPLATES = NAMED["short"]


def class_embeddings(
    encoder: StandInEncoder, names: Sequence[str], templates: Sequence[str]
) -> FloatArray:
    return prompt_embeddings(encoder, names, Prompts(tuple(templates)), EmbeddingCache())


def cache_file(home: Path) -> Path:
    return home / "cache" / module.FILE_NAME


def test_a_class_is_the_unit_mean_of_its_unit_prompts() -> None:
    encoder = StandInEncoder()
    rows = class_embeddings(encoder, NAMES, TEMPLATES)
    for name, row in zip(NAMES, rows, strict=True):
        mean = encoder.encode_texts([t.replace("{}", name) for t in TEMPLATES]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows.dtype == np.float32


def test_one_template_is_the_prompt_itself() -> None:
    encoder = StandInEncoder()
    rows = class_embeddings(encoder, NAMES, ["a photo of a {}."])
    prompts = encoder.encode_texts([f"a photo of a {name}." for name in NAMES])
    np.testing.assert_allclose(rows, prompts, atol=1e-6)


def test_neither_the_order_of_templates_nor_of_labels_changes_a_class() -> None:
    rows = class_embeddings(StandInEncoder(fingerprint="1"), NAMES, TEMPLATES)
    other = class_embeddings(StandInEncoder(fingerprint="2"), NAMES[::-1], TEMPLATES[::-1])
    np.testing.assert_array_equal(rows, other[::-1])


def test_what_was_encoded_is_not_encoded_again() -> None:
    encoder = StandInEncoder()
    first = class_embeddings(encoder, NAMES, TEMPLATES)
    assert len(encoder.encoded) == len(NAMES) * len(TEMPLATES)
    again = class_embeddings(fresh := StandInEncoder(), NAMES, TEMPLATES)
    assert fresh.encoded == []
    np.testing.assert_array_equal(first, again)


def test_one_new_label_among_many_encodes_one() -> None:
    names = [f"thing {n}" for n in range(1000)]
    class_embeddings(StandInEncoder(), names, ["a {}."])
    class_embeddings(encoder := StandInEncoder(), [*names[:500], "cat", *names[500:]], ["a {}."])
    assert encoder.encoded == ["a cat."]


@pytest.mark.parametrize("change", ["fingerprint", "templates", "width"])
def test_another_model_or_template_takes_nothing_from_the_cache(change: str) -> None:
    class_embeddings(StandInEncoder(), NAMES, TEMPLATES)
    encoder = StandInEncoder(fingerprint="other") if change == "fingerprint" else StandInEncoder()
    templates = TEMPLATES[1:] if change == "templates" else TEMPLATES
    if change == "width":
        encoder.width = 32  # as if the fingerprint lied
    class_embeddings(encoder, NAMES, templates)
    assert len(encoder.encoded) == len(NAMES) * len(templates)


def test_prompts_are_encoded_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 20)
    whole = class_embeddings(StandInEncoder(fingerprint="whole"), NAMES, TEMPLATES)
    names = [*NAMES, *(f"thing {n}" for n in range(30))]
    rows = class_embeddings(encoder := StandInEncoder(), names, TEMPLATES)
    assert encoder.largest <= 20
    np.testing.assert_array_equal(rows[:3], whole)


def test_progress_is_told_in_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "CHUNK", 2 * len(TEMPLATES))
    for _ in range(2):  # the second time nothing is to be encoded
        asked = StandInEncoder(), NAMES, Prompts(TEMPLATES), EmbeddingCache()
        prompt_embeddings(*asked, lambda done, of: told.append((done, of)))
    every = len(NAMES) * len(TEMPLATES)
    assert told == [(done, every) for done in range(0, every, 2 * len(TEMPLATES))]


def test_an_ended_run_goes_on_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", len(TEMPLATES))
    encoder = StandInEncoder()
    encode = encoder.encode_texts
    calls: list[int] = []

    def failing(texts: list[str]) -> object:
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(texts)

    monkeypatch.setattr(encoder, "encode_texts", failing)
    with pytest.raises(KeyboardInterrupt):
        class_embeddings(encoder, NAMES, TEMPLATES)
    class_embeddings(fresh := StandInEncoder(), NAMES, TEMPLATES)
    assert len(fresh.encoded) == len(TEMPLATES)


def test_classes_may_have_different_numbers_of_prompts() -> None:
    prompts = Prompts(TEMPLATES, {"dog": ("a poodle",)})
    rows = prompt_embeddings(StandInEncoder(), NAMES, prompts, EmbeddingCache())
    plain = class_embeddings(StandInEncoder(), NAMES, TEMPLATES)
    np.testing.assert_array_equal(rows[[0, 2]], plain[[0, 2]])
    np.testing.assert_allclose(rows[1], StandInEncoder().encode_texts(["a poodle"])[0], atol=1e-6)


@pytest.mark.parametrize("damage", ["no database", "cut", "noise"])
def test_a_damaged_cache_is_replaced(own_home: Path, damage: str) -> None:
    names = [f"thing {n}" for n in range(300)]
    expected = class_embeddings(StandInEncoder(), names, ["a {}."])
    content = cache_file(own_home).read_bytes()
    damaged = {
        "no database": b"not a database, by no means" * 99,
        "cut": content[: len(content) // 2],
        "noise": content[:4096] + bytes(len(content) - 4096),
    }
    cache_file(own_home).write_bytes(damaged[damage])
    for _ in range(2):  # damage may show itself only when a page is written
        rows = class_embeddings(StandInEncoder(), names, ["a {}."])
        np.testing.assert_array_equal(rows, expected)
    class_embeddings(encoder := StandInEncoder(), names, ["a {}."])
    assert encoder.encoded == []


def test_a_row_that_is_no_unit_row_is_made_again(own_home: Path) -> None:
    import sqlite3
    from contextlib import closing

    expected = class_embeddings(StandInEncoder(), NAMES, TEMPLATES)
    with closing(sqlite3.connect(cache_file(own_home))) as connection, connection:
        wrong = np.full(WIDTH, np.nan, np.float32).tobytes()
        connection.execute("UPDATE class_embedding SET numbers = ?", (wrong,))
    np.testing.assert_array_equal(class_embeddings(StandInEncoder(), NAMES, TEMPLATES), expected)


def test_without_a_place_to_keep_them_vectors_are_the_same(own_home: Path) -> None:
    expected = class_embeddings(StandInEncoder(), NAMES, TEMPLATES)
    cache = EmbeddingCache(cache_file(own_home) / "below-a-file")
    encoder = StandInEncoder()
    rows = prompt_embeddings(encoder, NAMES, Prompts(TEMPLATES), cache)
    np.testing.assert_array_equal(rows, expected)
    assert cache.note is not None
    assert "FOOTWORK_HOME" in cache.note


def test_the_oldest_rows_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    for n in range(20):
        class_embeddings(StandInEncoder(), [f"thing {n}"], ["a {}."])
    class_embeddings(encoder := StandInEncoder(), [f"thing {n}" for n in range(20)], ["a {}."])
    assert encoder.encoded == [f"a thing {n}." for n in range(10)]


def test_threads_that_write_at_once_lose_nothing() -> None:
    parts = [[f"thing {n}" for n in range(start, start + 50)] for start in range(0, 400, 40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda part: class_embeddings(StandInEncoder(), part, ["a {}."]), parts))
    names = sorted({name for part in parts for name in part})
    class_embeddings(encoder := StandInEncoder(), names, ["a {}."])
    assert encoder.encoded == []


def test_another_process_reads_what_this_one_wrote() -> None:
    class_embeddings(StandInEncoder(), NAMES, TEMPLATES)
    program = (
        "from tests.zeroshot.stand_in import StandInEncoder\n"
        "from tests.zeroshot.test_class_embeddings import class_embeddings\n"
        "encoder = StandInEncoder()\n"
        f"class_embeddings(encoder, {NAMES}, {TEMPLATES})\n"
        "import sys\n"
        "print(len(encoder.encoded), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["0", "False"]


def test_no_class_gives_no_row() -> None:
    assert class_embeddings(StandInEncoder(), [], TEMPLATES).shape == (0, WIDTH)


def test_unit_rows_leave_a_row_of_zeros_alone() -> None:
    rows = module.unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0.0, 0.0]]), rtol=1e-6)
