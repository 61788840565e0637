"""Laws of cutting a stream into windows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from footwork.inference.sequences import InferenceConfig, encoded_ahead, windows_of


def test_windows_grow_and_are_bounded_in_rows_and_characters() -> None:
    config = InferenceConfig(look_ahead=200, look_ahead_characters=1000)
    sizes = [len(window) for window in windows_of(["a"] * 700, config, len)]
    assert sizes == [64, 128, 200, 200, 108]
    assert [len(w) for w in windows_of(["a" * 600] * 5, config, len)] == [2, 2, 1]


def test_an_endless_stream_is_read_only_a_bounded_way_ahead() -> None:
    read: list[int] = []
    config = InferenceConfig(look_ahead=100)
    stream = encoded_ahead(windows_of(_counted(read), config, len), len)
    answered = 0
    for _ in range(20):
        window, count = next(stream)
        assert len(window) == count
        answered += count
        assert len(read) - answered <= 100
    stream.close()


def test_the_first_window_is_answered_before_the_second_is_read() -> None:
    read: list[int] = []
    stream = encoded_ahead(windows_of(_counted(read), InferenceConfig(), len), len)
    assert next(stream)[1] == 64
    assert len(read) == 64
    next(stream)
    assert len(read) == 64 + 128 + 256  # then one window ahead


def test_a_slow_source_is_not_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footwork.inference.sequences.SLOW_SOURCE", -1.0)
    read: list[int] = []
    answered = 0
    stream = encoded_ahead(windows_of(_counted(read), InferenceConfig(), len), len)
    for _ in range(4):
        answered += next(stream)[1]
        assert len(read) == answered


def _counted(read: list[int]) -> Iterator[str]:
    while True:
        read.append(1)
        yield "a"


def test_an_error_while_tokenising_reaches_the_caller() -> None:
    def fail(window: list[str]) -> int:
        raise ValueError(window[0])

    config = InferenceConfig()
    with pytest.raises(ValueError, match="text"):
        list(encoded_ahead(windows_of(["text"], config, len), fail))
