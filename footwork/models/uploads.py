"""A finished folder uploaded to the Hub; what could not be is refused before the training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError, ModelError
from footwork.files.folders import MANIFEST, read_json, sealed, write_json
from footwork.files.paths import shell_word
from footwork.finetuning.card import PLACE, is_local, public_document
from footwork.methods.table import METHODS, Method, adapter_in
from footwork.models.downloads import ask_hub
from footwork.options import PublishConfig

_WITH_PATHS = (MANIFEST, "report/metrics.json")
_INSTEAD = "Or leave out --push-to-hub, and upload the folder later (hf upload)"


def require_publishable(config: PublishConfig, base: str) -> None:
    """Refuse, before anybody is asked, what could not be pushed.

    Args:
        config: Says whether, where and what to push; nothing is checked without `push_to_hub`.
        base: The model that is trained, a preset looked up.

    Raises:
        ConfigError: The name is no Hub repository, or an adapter's base is only on this machine.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if config.push_to_hub is None:
        return
    try:
        validate_repo_id(config.push_to_hub)
    except HFValidationError as error:
        raise ConfigError(
            f"`push_to_hub` must be a Hub repository (owner/name), got {config.push_to_hub!r}."
        ) from error
    if config.publishes_adapter:
        _require_public_base(base, METHODS[config.method])


def writable_repository(name: str) -> str:
    """Ask the Hub who is there, and whether they may write to a repository.

    Args:
        name: owner/name, or a name of their own.

    Returns:
        owner/name.

    Raises:
        ConfigError: Nobody is logged in, or they may not.
        ModelError: The Hub does not answer.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = constants.ENDPOINT
    with _answering(name):
        try:
            who = ask_hub(name, HfApi().whoami)
        except LocalTokenNotFoundError as error:
            raise ConfigError(
                f"Nobody is logged in at {hub}, so nothing can be pushed to {name}. Log in with a "
                f"token that may write: hf auth login (or HF_TOKEN). {_INSTEAD}."
            ) from error
        except HfHubHTTPError as error:
            if error.response.status_code not in (401, 403):
                raise
            raise ConfigError(
                f"{hub} does not accept the token (HF_TOKEN, or that of hf auth login), so nothing "
                f"can be pushed to {name}. Log in anew: hf auth login. {_INSTEAD}."
            ) from error
        _require_writing_token(who, name)
        user, organisations = who["name"], {each["name"] for each in who.get("orgs") or ()}
        owner, _, own = name.rpartition("/")
        repository = f"{owner or user}/{own}"
        if owner and owner.lower() not in {each.lower() for each in (user, *organisations)}:
            try:
                ask_hub(name, lambda: HfApi().auth_check(repository, write=True))
            except HfHubHTTPError as error:
                if error.response.status_code >= 500:
                    raise
                theirs = ", ".join(sorted(organisations)) or "none"
                raise ConfigError(
                    f"{user} may not write to {name}: {owner} is neither {user} nor an "
                    f"organisation of theirs ({theirs}). Push to {user}/{own}."
                ) from error
    return repository


def _require_writing_token(who: Mapping[str, Any], name: str) -> None:
    token = (who.get("auth") or {}).get("accessToken") or {}
    writes = token.get("role") != "read"
    if token.get("role") == "fineGrained" and "scoped" in (token.get("fineGrained") or {}):
        scopes = token["fineGrained"]["scoped"]
        writes = any("repo.write" in each.get("permissions", ()) for each in scopes)
    if not writes:
        from huggingface_hub import constants

        raise ConfigError(
            f"The token of {who['name']} may only read, so nothing can be pushed to {name}. Make "
            f"one that may write ({constants.ENDPOINT}/settings/tokens), then: hf auth login."
        )


def create_repository(repository: str) -> str:
    """Make a repository, or find out that it may be written to.

    Returns:
        Its address.

    Raises:
        ConfigError: The Hub refuses.
        ModelError: It does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    address = None
    with _answering(repository):
        try:
            address = _make(repository)
            # There may be one of other people.
            ask_hub(repository, lambda: HfApi().auth_check(repository, write=True))
        except HfHubHTTPError as error:
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
    """Upload a published folder to the Hub, without the paths of this machine.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: It is an adapter whose base is only on this machine.
        ModelError: The Hub cannot be reached or refuses; the folder stays as it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    if found := adapter_in(folder):
        file, method = found
        _require_public_base(read_json(file)["base_model_name_or_path"], method)
    try:
        with tempfile.TemporaryDirectory() as name:
            copy_for_upload(folder, Path(name), repository)
            address = _make(repository)
            upload = partial(HfApi().upload_folder, repo_id=repository, folder_path=name)
            ask_hub(repository, upload)
    except (OSError, HTTPError, RuntimeError, ValueError) as error:
        message = (
            f"{folder} is finished, but could not be uploaded to {repository}: {_said(error)} "
            f"Log in (hf auth login), then: hf upload {repository} {shell_word(folder)}. That "
            f"uploads {' and '.join(_WITH_PATHS)} as they are, local paths included."
        )
        raise ModelError(message) from error
    return address


def _make(repository: str) -> str:
    from huggingface_hub import HfApi

    return str(ask_hub(repository, lambda: HfApi().create_repo(repository, exist_ok=True)))


def copy_for_upload(folder: Path, target: Path, repository: str) -> None:
    """Fill `target` with links to the files of `folder`, and with public copies of three of them.

    Args:
        folder: Published here.
        target: An empty folder.
        repository: What the card calls the folder in its examples.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif name.as_posix() in _WITH_PATHS:
            document = public_document(read_json(path))
            write_json(target / name, sealed(document) if path.name == MANIFEST else document)
        elif name.as_posix() == "README.md":
            card = path.read_text("utf-8").replace(PLACE, repository)
            (target / name).write_text(card, "utf-8")
        else:
            (target / name).symlink_to(path.resolve())


@contextmanager
def _answering(repository: str) -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    try:
        yield
    except OfflineModeIsEnabled as error:
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
    """What an error says, or the Hub in it, on one line, as a sentence."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    text = " ".join(said.split())
    return f"{text.rstrip('.')}."


def _require_public_base(model_id: str, method: Method) -> None:
    if is_local(model_id):
        merges = method.adapter is not None and method.adapter.merges
        plain = "Publish a plain folder instead: add --merge."
        instead = plain if merges else "Name a base of the Hub."
        raise ConfigError(
            f"The base of this adapter, {model_id}, is only on this machine, so nobody could load "
            f"the adapter from the Hub. {instead}"
        )
