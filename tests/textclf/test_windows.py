"""Laws of cutting texts and of sliding windows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from footwork.errors import ConfigError
from footwork.inference.tokens import tokenize, whole_characters
from tests.models import FAMILIES, build_tokenizer
from textclf.windows import TextEncoder

LONG = "the film was very good and the book was not so bad at all, it is fine " * 6


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return build_tokenizer(request.param)


def content(tokenizer: Any, ids: list[int]) -> list[int]:
    return [token for token in ids if token not in tokenizer.all_special_ids]


def test_windows_cover_every_token_with_the_overlap(tokenizer: Any) -> None:
    whole = tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"]
    encoded = TextEncoder(tokenizer, 32, "windows", overlap=8).encode([(LONG, None)])
    windows = [content(tokenizer, ids) for ids in encoded.sequences.inputs["input_ids"]]
    joined = windows[0]
    for before, after in pairwise(windows):
        assert before[-8:] == after[:8]
        joined = joined + after[8:]
    assert joined == whole
    assert max(encoded.sequences.lengths) == 32
    assert encoded.weights.tolist() == [len(window) for window in windows]
    assert not encoded.cut.any()


def test_short_texts_are_one_window_and_the_same_either_way(tokenizer: Any) -> None:
    rows = [("good", None), ("", None), ("the film", None)]
    windowed = TextEncoder(tokenizer, 32, "windows").encode(rows)
    truncated = TextEncoder(tokenizer, 32).encode(rows)
    assert windowed.counts.tolist() == [1, 1, 1]
    assert windowed.sequences.inputs == truncated.sequences.inputs
    assert windowed.weights.min() == 1


def test_texts_keep_their_own_windows(tokenizer: Any) -> None:
    rows = [("good", None), (LONG, None), ("", None), (LONG * 2, None), ("bad", None)]
    encoder = TextEncoder(tokenizer, 32, "windows")
    together = encoder.encode(rows)
    alone = [encoder.encode([row]) for row in rows]
    assert together.counts.tolist() == [int(one.counts[0]) for one in alone]
    expected = [ids for one in alone for ids in one.sequences.inputs["input_ids"]]
    assert together.sequences.inputs["input_ids"] == expected


def test_truncation_is_the_tokenizers_own_and_says_what_was_cut(tokenizer: Any) -> None:
    encoded = TextEncoder(tokenizer, 24).encode([(LONG, None), ("bad", None)])
    own = tokenizer([LONG, "bad"], truncation=True, max_length=24)["input_ids"]
    assert encoded.sequences.inputs["input_ids"] == own
    assert encoded.sequences == tokenize(tokenizer, [LONG, "bad"], None, 24)
    assert encoded.cut.tolist() == [True, False]


@pytest.mark.parametrize("first", [True, False])
def test_of_a_pair_the_longer_text_slides_beside_the_other(tokenizer: Any, first: bool) -> None:
    short = "is it good"
    row = (LONG, short) if first else (short, LONG)
    encoded = TextEncoder(tokenizer, 40, "windows", overlap=4).encode([row, ("a", "b")])
    length = len(tokenizer(short, add_special_tokens=False)["input_ids"])
    part = content(tokenizer, tokenizer(*row)["input_ids"])
    part = part[-length:] if first else part[:length]
    assert encoded.counts[0] > 1
    assert encoded.counts[1] == 1
    for ids in encoded.sequences.inputs["input_ids"][: encoded.counts[0]]:
        assert len(ids) <= 40
        window = content(tokenizer, ids)
        assert (window[-length:] if first else window[:length]) == part
    assert encoded.cut.tolist() == [False, False]


def test_a_pair_of_two_long_texts_cuts_the_shorter_one_and_says_so(tokenizer: Any) -> None:
    encoded = TextEncoder(tokenizer, 40, "windows").encode([(LONG, LONG * 2)])
    assert encoded.counts[0] > 1
    assert max(encoded.sequences.lengths) <= 40
    assert encoded.cut.tolist() == [True]


def test_pooling_weighs_windows_by_their_tokens(tokenizer: Any) -> None:
    encoded = TextEncoder(tokenizer, 32, "windows").encode([("good", None), (LONG, None)])
    logits = np.random.default_rng(0).normal(size=(len(encoded.sequences), 3)).astype(np.float32)
    pooled = encoded.pooled(logits)
    assert pooled.shape == (2, 3)
    np.testing.assert_allclose(pooled[0], logits[0], rtol=1e-6)
    expected = np.average(logits[1:], axis=0, weights=encoded.weights[1:])
    np.testing.assert_allclose(pooled[1], expected, rtol=1e-5)


def test_threads_do_not_disturb_each_other() -> None:
    tokenizer = build_tokenizer("bert")
    encoders = [TextEncoder(tokenizer, 32, "windows"), TextEncoder(tokenizer, 32)]
    expected = [encoder.encode([(LONG, None)]).counts.tolist() for encoder in encoders]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(encoders[0].encode, [(LONG, None)]) for _ in range(40)]
        assert all(job.result().counts.tolist() == expected[0] for job in jobs)


def test_a_tokenizer_without_special_tokens_still_gives_an_empty_text_a_token() -> None:
    from transformers import PreTrainedTokenizerFast

    bare = build_tokenizer("bert")._tokenizer
    bare.post_processor = None
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="[PAD]")
    encoded = TextEncoder(tokenizer, 16).encode([("", None), ("bad", None)])
    assert encoded.sequences.lengths == [1, 1]


def test_halves_of_characters_are_replaced_and_whole_ones_kept(tokenizer: Any) -> None:
    assert whole_characters("a\ud83d b") == "a\ufffd b"
    assert whole_characters("\ud83d\ude00") == "😀"
    encoded = TextEncoder(tokenizer, 32).encode([("a\ud83d b", None), ("a\ufffd b", None)])
    assert encoded.sequences.inputs["input_ids"][0] == encoded.sequences.inputs["input_ids"][1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 4}, "`max_length` must be at least 5, got 4"),
        ({"max_length": 23, "overlap": 10}, "`overlap` must be from 0 to 9"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextEncoder(build_tokenizer("bert"), **{"max_length": 32, **settings})
