"""Data sets of the Hub, loaded by `datasets`, and why one is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import CRITICAL
from typing import Any

from footwork.errors import ConfigError, DataError, error_text
from footwork.files.faults import shortened

KIND = "data set"


def load_hub_dataset(data: str) -> Any:
    """All splits of a data set; where the Hub does not answer, from the copy of this machine.

    Args:
        data: Hub id, or `owner/name:config`.

    Returns:
        A `datasets.DatasetDict`.

    Raises:
        ConfigError: It has several configurations, and `data` names none of them.
        DataError: The Hub refuses it or gives no answer, or it cannot be loaded.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    from footwork.console import note
    from footwork.models.downloads import failure_text
    from footwork.models.hub import offline_switch

    name, _, config = data.partition(":")
    with _quiet():
        if constants.is_offline_mode():
            return _load_copy(name, config, f"{offline_switch()} is set")
        try:
            _ask(name, patient=False)
        except HTTPError as error:
            reason = failure_text(error)
            try:
                found = _load_copy(name, config, reason)
            except DataError as no_copy:
                try:
                    _ask(name, patient=True)
                except HTTPError:
                    raise no_copy from error
            else:
                note(f"{reason}; taking the copy of {data} that this machine holds")
                return found
        return _load(name, config)


def _ask(name: str, *, patient: bool) -> None:
    """See that the Hub gives a data set."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    from footwork.models.downloads import REFUSALS, ask_hub
    from footwork.models.hub import refusal

    limit = constants.HF_HUB_ETAG_TIMEOUT
    try:
        ask_hub(name, lambda: HfApi().dataset_info(name, timeout=limit), patient=patient)
    except HfHubHTTPError as error:
        if error.response.status_code in REFUSALS:
            raise DataError(refusal(error, name, None, KIND)) from error
        raise
    except ValueError as error:  # no id of the Hub, or no JSON
        what = error_text(error)
        raise DataError(
            f"There is no file or folder {name}, and {constants.ENDPOINT} gives no data set of "
            f"this name: {what}. Check the path."
        ) from error


def _load(name: str, config: str) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    from footwork.models.downloads import Patience, failure_text
    from footwork.models.hub import gate_text, page_of

    patience = Patience(name)
    while True:
        try:
            return load_dataset(name, config or None)
        except DatasetNotFoundError as error:
            raise DataError(gate_text(name, KIND)) from error  # the Hub has just shown it
        except HTTPError as error:
            try:
                patience.wait(error)
            except HTTPError:
                reason = failure_text(error)
                raise DataError(f"{name} cannot be downloaded: {reason}. Try again.") from error
        except (OSError, ValueError, RuntimeError, DatasetsError) as error:
            if "scripts are no longer supported" in str(error):
                raise DataError(
                    f"{name} is made by a program of its own, which is not run. Look at "
                    f"{page_of(name, KIND)} for its files, and give the path of one."
                ) from error
            _require_config(name, config, error)
            raise DataError(
                f"{name} cannot be read as a data set: {_reason(error)}. Download it from "
                f"{page_of(name, KIND)}, and give the path of its CSV, JSON lines or Parquet."
            ) from error


def _reason(error: BaseException) -> str:
    from datasets.exceptions import DatasetGenerationError
    from datasets.table import CastError

    inner = error.__cause__ or error.__context__
    if isinstance(inner, CastError):
        found, wanted = sorted(inner.table_column_names), sorted(inner.requested_column_names)
        return f"its files differ in their columns: {shortened(wanted, 8)}; {shortened(found, 8)}"
    if isinstance(error, DatasetGenerationError) and inner is not None:
        error = inner
    return error_text(error)


def _require_config(name: str, config: str, error: Exception) -> None:
    from datasets import get_dataset_config_names

    try:
        configs = get_dataset_config_names(name)
    except Exception:  # noqa: BLE001 - what was raised before is what matters
        return
    if config in configs or (not config and len(configs) < 2):
        return
    what = f"no configuration {config!r}; it has" if config else "several configurations:"
    raise ConfigError(
        f"{name} has {what} {shortened(configs, 20)}. Name one: {name}:{configs[0]}"
    ) from error


def _load_copy(name: str, config: str, reason: str) -> Any:
    import datasets.config
    from datasets import load_dataset
    from huggingface_hub import constants

    from footwork.models.hub import offline_switch

    former = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        return load_dataset(name, config or None)
    except (OSError, ValueError, RuntimeError) as error:
        hint = "Run it once with a connection"
        if former[1]:
            hint = f"Unset {offline_switch()} to download it"
        what = f"{name}:{config}" if config else name
        raise DataError(
            f"There is no file or folder {what}, and of the data set of this name this machine "
            f"holds no copy: {reason}. {hint}, or give the path of a file."
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = former


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block no library tells of its retries, nor draws bars where nobody watches."""
    import datasets
    from huggingface_hub import utils
    from huggingface_hub.utils import logging

    with ExitStack() as stack:
        for log in (datasets.logging, logging):
            stack.callback(log.set_verbosity, log.get_verbosity())
            log.set_verbosity(CRITICAL)  # what fails is told once, where it is caught
        if not sys.stderr.isatty():
            for bars in (datasets, utils):
                if not bars.are_progress_bars_disabled():
                    stack.callback(bars.enable_progress_bars)
                    bars.disable_progress_bars()
        yield
