"""A finished folder uploaded to the Hub; what could not be is refused before the training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from footwork.console import is_watched
from footwork.errors import ConfigError, ModelError, error_text
from footwork.files.folders import MANIFEST, read_json, sealed, write_json
from footwork.files.paths import shell_word
from footwork.finetuning.card import PLACE, is_local, public_document
from footwork.methods.table import AUTO, METHODS, Method, adapter_in
from footwork.models import hub
from footwork.models.downloads import ask_hub
from footwork.options import PublishConfig

_WITH_PATHS = (MANIFEST, "report/metrics.json")
_INSTEAD = "Or leave out --push-to-hub, and upload the folder later (hf upload)"


def require_publishable(config: PublishConfig, base: str | None) -> None:
    """Refuse, before anybody is asked, what could not be pushed where something is to be.

    Whether a method left open will publish an adapter the number of rows decides: ask again then. A
    name that is no repository, or the base of an adapter that is only on this machine (`base`,
    presets looked up; None where it is not known yet), is a `ConfigError`.
    """
    if config.push_to_hub is None:
        return
    try:
        validate_repo_id(config.push_to_hub)
    except errors.HFValidationError as error:
        raise ConfigError(
            f"`push_to_hub` must be a Hub repository (owner/name), got {config.push_to_hub!r}."
        ) from error
    if base is not None and config.method != AUTO and config.publishes_adapter:
        _require_public_base(base, config.method_row)


def writable_repository(name: str) -> str:
    """Ask the Hub who is there, and whether they may write to a repository: owner/name.

    That is told also where `name` is the latter alone. Where nobody is logged in, or they may not,
    it is a `ConfigError`; where the Hub does not answer, a `ModelError`.
    """
    hub = constants.ENDPOINT
    with _answering(name):
        try:
            who = ask_hub(name, huggingface_hub.HfApi().whoami)
        except errors.LocalTokenNotFoundError as error:
            raise ConfigError(
                f"Nobody is logged in at {hub}, so nothing can be pushed to {name}. Log in with a "
                f"token that may write: hf auth login (or HF_TOKEN). {_INSTEAD}."
            ) from error
        except errors.HfHubHTTPError as error:
            if error.response.status_code not in (401, 403):
                raise
            raise ConfigError(
                f"{hub} does not accept the token (HF_TOKEN, or that of hf auth login), so nothing "
                f"can be pushed to {name}. Log in anew: hf auth login. {_INSTEAD}."
            ) from error
        if not _may_write((who.get("auth") or {}).get("accessToken") or {}):
            raise ConfigError(
                f"The token of {who['name']} may only read, so nothing can be pushed to {name}. "
                f"Make one that may write ({hub}/settings/tokens), then: hf auth login."
            )
        user, organisations = who["name"], {each["name"] for each in who.get("orgs") or ()}
        owner, _, own = name.rpartition("/")
        repository = f"{owner or user}/{own}"
        if owner and owner.lower() not in {each.lower() for each in (user, *organisations)}:
            try:
                _require_access(repository)
            except errors.HfHubHTTPError as error:
                if error.response.status_code >= 500:
                    raise
                theirs = ", ".join(sorted(organisations)) or "none"
                raise ConfigError(
                    f"{user} may not write to {name}: {owner} is neither {user} nor an "
                    f"organisation of theirs ({theirs}). Push to {user}/{own}."
                ) from error
    return repository


def _may_write(token: dict[str, Any]) -> bool:
    if token.get("role") == "fineGrained" and "scoped" in (token.get("fineGrained") or {}):
        scopes = token["fineGrained"]["scoped"]
        return any("repo.write" in each.get("permissions", ()) for each in scopes)
    return token.get("role") != "read"


def create_repository(repository: str) -> str:
    """Make a repository, or find out that it may be written to; gives its address.

    What the Hub refuses is a `ConfigError`; where it does not answer, a `ModelError`.
    """
    address = None
    with _answering(repository):
        try:
            address = _make(repository)
            _require_access(repository)  # there may be one of other people
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status == 404 and address is not None:
                return address  # from a hub that does not know the question
            if status not in (400, 401, 402, 403):
                raise
            raise ConfigError(
                f"The Hub lets nothing be pushed to {repository}: {_said(error)} Name another "
                f"repository, or take a token that may write to it (hf auth login). {_INSTEAD}."
            ) from error
    return address


def push_folder(folder: Path, repository: str) -> str:
    """Upload a published folder to the Hub, without the paths of this machine; gives its address.

    What tells another kind of model by its name, and other weights, leave the repository with it.
    An adapter whose base is only on this machine is a `ConfigError`; where the Hub refuses or
    cannot be reached, a `ModelError`, and the folder stays as it is; Ctrl-C tells how to go on.
    """
    if found := adapter_in(folder):
        file, method = found
        _require_public_base(read_json(file)["base_model_name_or_path"], method)
    later = (
        f"hf upload {repository} {shell_word(folder)}. That uploads {' and '.join(_WITH_PATHS)} as "
        "they are, local paths included."
    )
    try:
        with tempfile.TemporaryDirectory() as name, _bars_on_a_terminal():
            copy_for_upload(folder, Path(name), repository)
            address = _make(repository)
            upload = huggingface_hub.HfApi().upload_folder
            former = {"repo_id": repository, "delete_patterns": _telling_files()}
            ask_hub(repository, partial(upload, folder_path=name, **former))
    except KeyboardInterrupt as error:
        error.args = (f"{folder} is finished, but not uploaded to {repository}. Later: {later}",)
        raise
    except (OSError, HTTPError, RuntimeError, ValueError) as error:
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        when = "Log in (hf auth login), then" if status in (401, 403) else "Try again later"
        raise ModelError(
            f"{folder} is finished, but could not be uploaded to {repository}: {_said(error)} "
            f"{when}: {later}"
        ) from error
    return address


def _telling_files() -> list[str]:
    """Names by which the kinds of published models are told apart, and those of their weights."""
    found = {name for name in hub.WEIGHTS if name.endswith(".safetensors")}
    for method in METHODS.values():
        found.update(method.files, [method.adapter.file] if method.adapter else [])
    return sorted(found | {"preprocessor_config.json"})  # images have it


def _make(repository: str) -> str:
    create = huggingface_hub.HfApi().create_repo
    return str(ask_hub(repository, lambda: create(repository, exist_ok=True)))


def _require_access(repository: str) -> None:
    check = huggingface_hub.HfApi().auth_check
    ask_hub(repository, lambda: check(repository, write=True))


def copy_for_upload(folder: Path, target: Path, repository: str) -> None:
    """Fill an empty folder with links to the files of another, and public copies of three of them.

    `repository` is what the card calls the folder in its examples.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif name.as_posix() in _WITH_PATHS:
            document = public_document(read_json(path, None))
            write_json(target / name, sealed(document) if path.name == MANIFEST else document)
        elif name.as_posix() == "README.md":
            card = path.read_text("utf-8").replace(PLACE, repository)
            (target / name).write_text(card, "utf-8")
        else:
            (target / name).symlink_to(path.resolve())


@contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """Within the block the Hub's library draws bars only where somebody watches."""
    hides = not is_watched() and not are_progress_bars_disabled()
    if hides:
        disable_progress_bars()
    try:
        yield
    finally:
        if hides:
            enable_progress_bars()


@contextmanager
def _answering(repository: str) -> Iterator[None]:
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise ConfigError(
            f"Nothing can be pushed to {repository} while HF_HUB_OFFLINE is set. Unset it. "
            f"{_INSTEAD}."
        ) from error
    except HTTPError as error:
        raise ModelError(
            f"{constants.ENDPOINT} does not say whether {repository} may be written to: "
            f"{_said(error)} Try again later. {_INSTEAD}."
        ) from error


def _said(error: Exception) -> str:
    """What an error says, or the Hub in it, as a sentence."""
    return f"{error_text(getattr(error, 'server_message', None) or error)}."


def _require_public_base(model_id: str, method: Method) -> None:
    if is_local(model_id):
        merges = method.adapter is not None and method.adapter.merges
        plain = "Publish a plain folder instead: add --merge."
        raise ConfigError(
            f"The base of this adapter, {model_id}, is only on this machine, so nobody could load "
            f"the adapter from the Hub. {plain if merges else 'Name a base of the Hub.'}"
        )
