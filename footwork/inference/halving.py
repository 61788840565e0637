"""Batches that become smaller where memory runs out, and shares that keep all workers busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from footwork.accelerator import autocast_to, free_cached_memory, is_out_of_memory
from footwork.arrays import FloatArray
from footwork.errors import ModelError

Item = TypeVar("Item")

SMALLEST_SHARE = 4
"""Fewer pictures a batch would take longer: each batch reads all the weights."""


class ElasticBatch:
    """Runs a model over `size` rows at once, over fewer where memory does not suffice.

    The size goes down, never up. `kind` is what a row is, for the message.
    """

    def __init__(self, size: int, kind: str) -> None:
        self.size = size
        self._refusal = (
            f"One {kind} does not fit into memory beside the model. Take a smaller model, or free "
            "memory that other programs hold."
        )

    def run(
        self, forward: Callable[[Sequence[Item]], FloatArray], rows: Sequence[Item]
    ) -> FloatArray:
        """As `run_in_parts`."""

        def shrink(part: Sequence[Any]) -> None:
            self.size = min(self.size, len(part))

        return run_in_parts(forward, rows, shrink, lambda _row: self._refusal)


def run_in_parts(
    forward: Callable[[Sequence[Item]], FloatArray],
    rows: Sequence[Item],
    shrink: Callable[[Sequence[Item]], None],
    refusal: Callable[[Item], str],
) -> FloatArray:
    """Run a model over some rows, halved as often as it takes for memory to suffice: (R, D).

    `shrink` is told of a part that is tried in place of the whole, for later batches; `refusal` is
    what is said of a single row that does not fit, which is a `ModelError`.
    """
    try:
        return forward(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise ModelError(refusal(rows[0])) from error
    # Out here nothing refers to the tensors of the attempt any more.
    free_cached_memory()
    half = len(rows) // 2
    shrink(rows[:half])
    parts = (rows[:half], rows[half:])
    return np.concatenate([run_in_parts(forward, part, shrink, refusal) for part in parts])


def run_in_batches(
    model: Any,
    batch: Callable[[Sequence[int]], dict[str, torch.Tensor]],
    lengths: Sequence[int],
    precision: str,
    rows: Sequence[int],
    kind: str = "row",
) -> FloatArray:
    """Logits of some rows, (R, C), on this process, by batches of like length.

    `batch` gives what the model takes of rows, `lengths` their tokens; `kind` as of `ElasticBatch`.
    """
    device = next(model.parameters()).device
    elastic = ElasticBatch(16 if device.type == "cpu" else 64, kind)

    def forward(part: Sequence[int]) -> FloatArray:
        inputs = {name: each.to(device) for name, each in batch(part).items()}
        with torch.inference_mode(), autocast_to(precision, device):
            return model(**inputs).logits.float().cpu().numpy()

    model.eval()
    order = sorted(range(len(rows)), key=lambda place: -lengths[rows[place]])
    answers, done = [], 0
    while done < len(rows):
        part = order[done : done + elastic.size]
        answers.append(elastic.run(forward, [rows[place] for place in part]))
        done += len(part)
    return np.concatenate(answers)[np.argsort(order)] if answers else np.zeros((0, 1), np.float32)


def shares(items: Iterable[Item], workers: int, size: Callable[[], int]) -> Iterator[list[Item]]:
    """Cut a stream into lists, shorter towards its end, so that all workers end together.

    Two shares a worker are read ahead. `size` is the largest share, asked for each time.
    """
    source, waiting = iter(items), deque[Item]()
    while True:
        largest = size()
        waiting.extend(islice(source, max(0, 2 * workers * largest - len(waiting))))
        if not waiting:
            return
        fair = max(SMALLEST_SHARE, len(waiting) // (2 * workers))
        yield [waiting.popleft() for _ in range(min(fair, largest, len(waiting)))]


def unit_embeddings(features: torch.Tensor) -> FloatArray:
    """Features (B, D) of any dtype, normalised, in float32; a `ModelError` where they are none."""
    if features.ndim != 2:
        raise ModelError(
            f"The model gives {tuple(features.shape)} where one vector a row is wanted. Take "
            "another model."
        )
    rows = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    if not np.isfinite(rows).all():
        raise ModelError(
            "The model gives embeddings that are no numbers: its weights are damaged, or it needs "
            "`precision='float32'`."
        )
    return rows
