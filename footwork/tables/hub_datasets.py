"""A data set of the Hub, or the copy of it on this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from logging import CRITICAL
from pathlib import Path
from typing import Any

import datasets
import datasets.config
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError, DatasetsError
from datasets.table import CastError
from huggingface_hub import HfApi, constants, utils
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import logging
from yaml import YAMLError

from footwork.console import Progress, note
from footwork.errors import ConfigError, DataError, error_text
from footwork.files.faults import shortened
from footwork.models.downloads import REFUSALS, Patience, ask_hub, failure_text
from footwork.models.hub import gate_text, offline_switch, page_of, refusal, require_address

KIND = "data set"
_LOOK_EVERY = 0.3  # seconds between two looks at what has come


def load_hub_dataset(data: str) -> Any:
    """All splits of a data set, as a `datasets.DatasetDict`; `data` may be `owner/name:config`.

    Where the Hub does not answer, they come from the copy of this machine.

    Raises:
        ConfigError: It has several configurations, and `data` names none of them.
        DataError: The Hub refuses it or gives no answer, or it cannot be loaded.
    """
    name, _, config = data.partition(":")
    require_address()
    with _quiet():
        if constants.is_offline_mode():
            return _load_copy(name, config, f"{offline_switch()} is set")
        try:
            size = _ask(name, patient=False)
        except HTTPError as error:
            reason = failure_text(error)
            try:
                found = _load_copy(name, config, reason)
            except (ConfigError, DataError) as no_copy:
                try:
                    size = _ask(name, patient=True)
                except HTTPError:
                    raise no_copy from error
            else:
                note(f"{reason}; taking the copy of {data} that this machine holds")
                return found
        with _told(name, None if config else size):
            return _load(name, config)


def _ask(name: str, *, patient: bool) -> int:
    """See that the Hub gives a data set; its size in bytes, all configurations together."""
    limit = constants.HF_HUB_ETAG_TIMEOUT
    try:
        ask = partial(HfApi().dataset_info, name, timeout=limit, files_metadata=True)
        info = ask_hub(name, ask, patient=patient)
        return sum(file.size or 0 for file in info.siblings or ())
    except HfHubHTTPError as error:
        if error.response.status_code in REFUSALS:
            raise DataError(refusal(error, name, None, KIND)) from error
        raise
    except ValueError as error:  # no id of the Hub, or no JSON
        what = error_text(error)
        if isinstance(error, json.JSONDecodeError):
            what = "what answers there is no model hub; check HF_ENDPOINT and the proxy"
        raise DataError(
            f"There is no file or folder {name}, and {constants.ENDPOINT} gives no data set of "
            f"this name: {what}. Check the path."
        ) from error


def _load(name: str, config: str) -> Any:
    patience = Patience(name)
    while True:
        try:
            return datasets.load_dataset(name, config or None)
        except DatasetNotFoundError as error:
            raise DataError(gate_text(name, KIND)) from error  # the Hub has just shown it
        except HTTPError as error:
            try:
                patience.wait(error)
            except HTTPError:
                reason = failure_text(error)
                raise DataError(f"{name} cannot be downloaded: {reason}. Try again.") from error
        except (OSError, ValueError, RuntimeError, DatasetsError, YAMLError) as error:
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
    inner = error.__cause__ or error.__context__
    if isinstance(inner, CastError):
        found, wanted = sorted(inner.table_column_names), sorted(inner.requested_column_names)
        return f"its files differ in their columns: {shortened(wanted, 8)}; {shortened(found, 8)}"
    if isinstance(error, DatasetGenerationError) and inner is not None:
        error = inner
    return error_text(error)


def _require_config(name: str, config: str, error: Exception) -> None:
    try:
        configs = datasets.get_dataset_config_names(name)
    except Exception:  # noqa: BLE001 - what was raised before is what matters
        return
    if config in configs or (not config and len(configs) < 2):
        return
    what = f"no configuration {config!r}; it has" if config else "several configurations:"
    raise ConfigError(
        f"{name} has {what} {shortened(configs, 20)}. Name one: {name}:{configs[0]}"
    ) from error


def _load_copy(name: str, config: str, reason: str) -> Any:
    former = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(name, config or None)
    except (OSError, ValueError, RuntimeError) as error:
        if several := re.search("configurations in the cache: (.+)", str(error)):
            first = several[1].split(", ")[0]
            raise ConfigError(
                f"{reason}, and of {name} this machine holds copies of several configurations: "
                f"{several[1]}. Name one: {name}:{first}"
            ) from error
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
def _told(name: str, total: int | None) -> Iterator[None]:
    """Within the block what comes of a data set is told, by what its place in the cache grows."""
    folder = repo_folder_name(repo_id=name, repo_type="dataset")
    blobs = Path(constants.HF_HUB_CACHE, folder, "blobs")

    def held() -> int:
        with suppress(OSError):  # a file is renamed when it is whole
            return sum(path.stat().st_size for path in blobs.iterdir())
        return 0

    done, before = threading.Event(), held()

    def watch() -> None:
        with Progress(f"downloading {name}", "B") as progress:
            while not done.wait(_LOOK_EVERY):
                if (come := held() - before) > 0:
                    progress.show(come, total)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block no library tells of its retries, nor draws bars of its own."""
    with ExitStack() as stack:
        for log in (datasets.logging, logging):
            stack.callback(log.set_verbosity, log.get_verbosity())
            log.set_verbosity(CRITICAL)  # what fails is told once, where it is caught
        for bars in (datasets, utils):
            if not bars.are_progress_bars_disabled():
                stack.callback(bars.enable_progress_bars)
                bars.disable_progress_bars()
        yield
