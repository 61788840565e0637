"""How many threads torch is given."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest
import torch

from footwork import accelerator
from footwork.accelerator import quickest_threads, threads_are_given


class Clock:
    """Time that passes only in steps: so many seconds on so many threads."""

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self.seconds, self.now, self.threads = seconds, 0.0, max(seconds)
        self.tried: set[int] = set()

    def set(self, threads: int) -> None:
        self.threads = threads

    def step(self) -> None:
        self.tried.add(self.threads)
        self.now += self.seconds[self.threads]


@pytest.mark.parametrize(
    ("seconds", "chosen", "tried"),
    [
        ({2: 7.0, 1: 1.0}, 1, {1, 2}),  # beside another job
        ({2: 1.0, 1: 1.05}, 1, {1, 2}),  # the second thread is worth more to others
        ({8: 1.0, 4: 1.8, 2: 0.1, 1: 0.1}, 8, {8, 4}),  # a large model does not wait for one
        ({6: 4.0, 3: 2.0, 1: 3.0}, 3, {6, 3, 1}),
        ({1: 1.0}, 1, set()),
    ],
)
def test_the_threads_are_halved_as_long_as_little_is_lost(
    seconds: Mapping[int, float], chosen: int, tried: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(seconds)
    monkeypatch.setattr(torch, "get_num_threads", lambda: clock.threads)
    monkeypatch.setattr(torch, "set_num_threads", clock.set)
    monkeypatch.setattr(accelerator.time, "perf_counter", lambda: clock.now)
    found = quickest_threads(clock.step)
    assert list(found)[-1] == chosen
    assert clock.tried == tried
    assert clock.threads == max(seconds)
    if len(seconds) > 1:
        assert found[chosen] == pytest.approx(seconds[chosen])


def test_what_the_user_has_set_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = torch.get_num_interop_threads()
    assert threads_are_given()  # by the environment of the tests
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: usual)
    assert not threads_are_given()
    monkeypatch.setattr(torch, "get_num_threads", lambda: usual + 1)
    assert threads_are_given()


def test_what_is_compiled_for_shapes_is_kept_of_few_unless_the_user_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    accelerator._bound_caches.cache_clear()
    accelerator.compute_device()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "128"
