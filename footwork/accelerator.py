"""Where the work runs: device, precision, and the share of each process.

The only place that asks accelerate and torch what this machine is.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import math
import os
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, get_int_from_env, parse_flag_from_env
from torch import nn

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, require_one_of
from footwork.options import PRECISIONS, Precision

_PROBE_SECONDS = 0.2
_ROUNDS, _ROUND_SECONDS = 3, 1.0
"""Measurements of a number of threads at most, and seconds after which no further one begins."""
_WORTH = 1.1  # times as quick that twice the threads must be to be taken


_chosen: ContextVar[torch.device | None] = ContextVar("device", default=None)


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """Within the block the work runs on the device of a name; None leaves it where it is."""
    if name is None:
        yield
        return
    device = compute_device(name)
    chosen = _chosen.set(device)
    try:
        named = device.type != "cpu" and device.index is not None
        with torch.accelerator.device_index(device.index) if named else nullcontext():
            yield
    finally:
        _chosen.reset(chosen)
        AcceleratorState._reset_state(reset_partial_state=True)  # it knows the one of the block


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within the block gradients are computed; what else the caller draws by chance goes on after.

    Training sets the seed of all generators: splits that are drawn between runs would be one.
    """
    drawn, also = random.getstate(), np.random.get_state()  # noqa: NPY002 - what callers use
    try:
        # Those of GPUs are left out: to ask for them would take up memory on every one.
        with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(also)  # noqa: NPY002


def uses_cpu() -> bool:
    """Whether the work runs on the processor: by choice, or for want of an accelerator."""
    if chosen := _chosen.get():
        return chosen.type == "cpu"
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


@cache
def _bound_caches() -> None:
    """Have what oneDNN compiles for each shape of a bf16 product kept of fewer shapes.

    It keeps 1,024, and torch's layer above it as many: batches of ever new lengths, as runs of
    other seeds have, made a process grow by 60 MB a run, by 300 MB in all.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "128")  # both are read at the first product


def _state() -> PartialState:
    _bound_caches()
    # Unless told that it runs on the processor, accelerate finds one process there, never several.
    state = PartialState(cpu=uses_cpu())
    if state.num_processes > 1:
        _leave_group_at_exit()
    return state


@cache
def _leave_group_at_exit() -> None:
    """A process that ends within its group is now and then aborted by the group's own threads."""

    def leave_group() -> None:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    atexit.register(leave_group)


@cache
def _compute_alone_in_forks() -> None:
    """A fork has none of OpenMP's threads, and waits for them for ever where it takes several."""
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep what tensors leave, for those of the next step.

    By itself glibc hands every large block back to the system, which clears and maps its pages
    anew: half the time of a step of an EfficientNet, a third of one of DeBERTa-base's shape.
    """
    kept = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20}
    for option, value in kept.items():
        with suppress(AttributeError):  # other libraries have no such settings
            ctypes.CDLL(None).mallopt(option, value)


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Options of mallopt(3); a threshold of -1 is none."""


def compute_device(name: str | None = None) -> torch.device:
    """The device of a name; without one that of this process, as `accelerate launch` set it.

    Raises:
        ConfigError: It is not there, or several processes have one each.
    """
    _compute_alone_in_forks()
    _keep_freed_memory()
    if name is None:
        return _chosen.get() or _state().device
    device, there = torch.device(name), torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if there else 0
    others = [f"{there.type}:{number}" for number in range(count)] if there else []
    if device.type != "cpu" and f"{device.type}:{device.index or 0}" not in others:
        allowed = ", ".join(("cpu", *others))
        raise ConfigError(f"`device` {name} is not there: this machine has {allowed}.")
    if number_of_processes() > 1:
        raise ConfigError(f"`device` {name} is for one process: the launcher gives each its own.")
    return device


def is_main_process() -> bool:
    """Whether this process is the one that prints, writes and reports."""
    return bool(_state().is_main_process)


def number_of_processes() -> int:
    """How many processes `accelerate launch` started."""
    return int(_state().num_processes)


def process_share(rows: int) -> slice:
    """The contiguous share of `rows` rows that belongs to this process."""
    state = _state()
    first = rows * state.process_index // state.num_processes
    last = rows * (state.process_index + 1) // state.num_processes
    return slice(first, last)


def gather_shares(share: Any) -> list[Any]:
    """One object per process, in the order of the processes, on every process."""
    state = _state()
    if state.num_processes == 1:
        return [share]
    gathered: list[Any] = [None] * state.num_processes
    torch.distributed.all_gather_object(gathered, share)
    return gathered


def shared_over_processes(
    answer: Callable[[Sequence[int]], FloatArray], rows: Sequence[int]
) -> FloatArray:
    """What `answer` gives of some rows, (R, …), each process asking it for a share of them."""
    own = answer(rows[process_share(len(rows))])
    return np.concatenate([share for share in gather_shares(own) if len(share)])


def share_from_main(value: Any) -> Any:
    """What the main process has, on every process; all of them must call it."""
    if _state().num_processes == 1:
        return value
    [shared] = broadcast_object_list([value])
    return shared


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """Add `tensor` up over all processes, in place."""
    if _state().num_processes > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def largest_over_processes(value: int) -> int:
    """The largest `value` of all processes."""
    if _state().num_processes == 1:
        return value
    tensor = torch.tensor(value, device=compute_device())
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return int(tensor)


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware: faster, and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_fp16(device: torch.device) -> bool:
    """Whether `device` multiplies float16 in hardware."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)


def available_cores() -> int:
    """Processor cores for this process: its share of what the machine lets it use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // get_int_from_env(["LOCAL_WORLD_SIZE"], 1))


def threads_are_given() -> bool:
    """Whether the user has chosen torch's threads, by the environment or by `set_num_threads`."""
    named = any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))
    # The other pool of torch has the number that torch would take for both.
    return named or torch.get_num_threads() != torch.get_num_interop_threads()


def quickest_threads(step: Callable[[], object]) -> dict[int, float]:
    """Time a step with torch's threads, with half of them, and so on as long as that loses little.

    Threads within a product wait for the slowest of them: for a small model, or beside another
    job, fewer are quicker.

    Returns:
        Seconds of a step by threads, the number to take last: the least within a tenth of the
        best, for what it leaves to others.
    """
    most = threads = torch.get_num_threads()
    seconds = {most: math.inf}
    if most > 1:
        step()  # the first one makes room
    try:
        while threads > 1:
            pair, begin, rounds = (threads, threads // 2), time.perf_counter(), 0
            spent = dict.fromkeys(pair, 0.0)
            # By turns, because the load of the machine changes.
            while not rounds or (rounds < _ROUNDS and time.perf_counter() - begin < _ROUND_SECONDS):
                for count in pair:
                    torch.set_num_threads(count)
                    started = time.perf_counter()
                    step()
                    spent[count] += time.perf_counter() - started
                rounds += 1
            more, fewer = (spent[count] / rounds for count in pair)
            seconds[threads] = more
            if fewer > _WORTH * more:
                break
            seconds[pair[1]], threads = fewer, pair[1]
    finally:
        torch.set_num_threads(most)
    return seconds


def resolve_precision(requested: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: `auto` takes bf16 where the hardware has it."""
    require_one_of("mixed_precision", requested, PRECISIONS)
    bf16 = requested == "bf16" or (requested == "auto" and has_bf16(device))
    return torch.bfloat16 if bf16 else torch.float32


def autocast_to(precision: str, device: torch.device) -> torch.autocast:
    """Within it matrix products are of that precision."""
    bf16 = resolve_precision(precision, device) is torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def channels_last(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Inputs whose images, (B, C, H, W), have their channels last in memory.

    Convolutions are quickest so, and hand the layout on: EfficientNet answers 1.7 times as fast on
    a processor in float32, a ResNet 1.3 times.
    """
    return {
        name: each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each
        for name, each in inputs.items()
    }


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a matrix product on `device`, measured now."""
    side = 4096 if device.type == "cuda" else 1024
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    (matrix @ matrix).sum().item()
    products, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < _PROBE_SECONDS:
        # Taking a number out waits for the device.
        (matrix @ matrix)[0, 0].item()
        products += 1
    return 2 * side**3 * products / elapsed


def peak_memory() -> int:
    """Bytes that this process has held at most; of an accelerator's memory, where it has one."""
    device = compute_device()
    if device.type in ("cuda", "xpu"):
        return int(torch.accelerator.max_memory_allocated(device))
    with suppress(OSError):
        # `getrusage` begins with what the process held that started this one.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak_memory() -> None:
    """Let `peak_memory` tell of what comes from here on, where the system can forget a peak."""
    gc.collect()
    device = compute_device()
    if device.type in ("cuda", "xpu"):
        torch.accelerator.reset_peak_memory_stats(device)
    free_cached_memory()  # what was freed would count as held
    with suppress(OSError):  # Linux alone has it
        Path("/proc/self/clear_refs").write_text("5")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device or the host has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def free_cached_memory() -> None:
    """Hand back what is kept for the next tensors: a run is over, or has no memory left."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def wait_for_everyone() -> None:
    """Go on when all processes have come this far."""
    _state().wait_for_everyone()


FAIL_IN_BF16 = frozenset({"deberta", "xmod"})
"""Model types whose own code fails under autocast: DeBERTa's first version, and X-MOD."""


def settled_precision(requested: Precision, model: nn.Module) -> Literal["bf16", "float32"]:
    """What `auto` means for a model here; a `ConfigError` if it cannot be run in `bf16`."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if model_type in FAIL_IN_BF16:
        if requested == "bf16":
            raise ConfigError(
                f"The code of transformers for models of type {model_type} fails in bf16. "
                "Ask for `float32` or `auto`."
            )
        return "float32"
    bf16 = resolve_precision(requested, compute_device()) is torch.bfloat16
    return "bf16" if bf16 else "float32"
