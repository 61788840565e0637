"""The model hub: a model of it is first a folder of this machine, a snapshot in the Hub's cache.

Whoever loads one loads that folder, so that this file alone asks the Hub, once a process and model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn

from huggingface_hub import HfApi, constants, errors, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from footwork.console import note
from footwork.errors import ConfigError, HubUnreachable, ModelError
from footwork.files.faults import shortened
from footwork.files.folders import MANIFEST, published_file, read_manifest, require_no_former
from footwork.files.paths import user_path
from footwork.files.plain_files import read_object
from footwork.models import downloads

Parts = Literal["small", "weights", "published"]
"""What is wanted: what configuration, tokenizer and image processor are read from; the weights,
too; or all that a folder published by Footwork holds."""

_COMMIT = re.compile("[0-9a-f]{40}")
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SMALL = re.compile(r"[^/\\]+\.(json|txt|model|jinja|bpe|spm|vocab|codes|tiktoken)")
"""What configurations, tokenizers and image processors are read from; nothing in sub-folders."""
_READER = re.compile(r".*(token|vocab|merges|processor|spm|spiece|bpe|sentencepiece).*")
APART = "texts_apart"
"""Of classifiers of `footwork.models.pairs`: a key of their configuration, and the variant in the
name of their weights, so that transformers' own classes find none, and say so."""
_APART_WEIGHTS = f"model.{APART}.safetensors"
WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    _APART_WEIGHTS,
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("adapter_model.safetensors", "adapter_model.bin"),
)
"""What transformers looks for, in its order: of several formats the first is enough."""
_INDEXES = [name for name in WEIGHTS if name.endswith(".index.json")]
_COMMITS: dict[tuple[str, str, str, str | None], str] = {}
"""What was found once: all parts that a process loads come from one commit."""
_OTHER_FRAMEWORKS = (".h5", ".msgpack", ".ot", ".onnx", ".onnx_data", ".gguf", ".tflite")
_WITH_A_COPY = 5  # seconds to wait for the Hub where there is a copy to take instead
ANOTHER_MODEL = "give a local folder with config.json, weights and tokenizer"
ADAPTER_CONFIG = "adapter_config.json"
OPEN_CLIP = "open_clip_config.json"


TINY_TEXT = Path(__file__).parents[1] / "tiny" / "text"
TEXT_PRESETS = {
    "tiny": str(TINY_TEXT),
    "fast": "microsoft/deberta-v3-xsmall",
    "accurate": "microsoft/deberta-v3-large",
    "multilingual": "microsoft/mdeberta-v3-base",
}
TINY_CLIP = Path(__file__).parents[1] / "tiny" / "clip"
IMAGE_PRESETS = {
    "tiny": str(TINY_CLIP),
    "fast": "google/siglip2-base-patch32-256",
    "accurate": "google/siglip2-so400m-patch14-384",
    "multilingual": "google/siglip2-base-patch16-224",
}


def resolve_model_id(model_id: str, presets: Mapping[str, str] = TEXT_PRESETS) -> str:
    """A Hub id or a folder: presets and `tiny` looked up, an existing folder made absolute.

    What can be neither is a `ConfigError`, a folder without a model a `ModelError`.
    """
    if model_id in presets:
        return presets[model_id]
    path, allowed = user_path(model_id), "Name a folder, a Hub id (owner/name) or `tiny`."
    if model_id and path.is_dir():
        if not (path / "config.json").exists():
            hint = f" {_convert(model_id)}." if (path / OPEN_CLIP).exists() else ""
            message = f"{model_id} is a folder without config.json, so it holds no model.{hint}"
            raise ModelError(message)
        if odd := [one for one in path.iterdir() if one.exists() and not _is_plain(one)]:
            raise ModelError(f"{odd[0]} is a pipe or a device: no model has any. Remove it.")
        return str(path.resolve())
    if path.is_file():
        raise ConfigError(f"{model_id} is a file. Name the folder that holds the whole model.")
    if "://" in model_id:
        words = model_id.split("/")[3:5]
        hint = f"Name the Hub id alone: {'/'.join(words)}" if len(words) > 1 else allowed
        raise ConfigError(f"{model_id} is an address. {hint}")
    require_no_former(path)
    try:
        validate_repo_id(model_id)
    except errors.HFValidationError as error:
        message = f"There is no folder {model_id!r}, and no Hub id looks so. {allowed}"
        raise ConfigError(message) from error
    return model_id


def _convert(folder: str) -> str:
    return (
        "It is a checkpoint of open_clip: convert it once, and name what that writes: "
        f"python -m footwork.models.open_clip {folder} OUT"
    )


def _is_plain(path: Path) -> bool:
    return path.is_file() or path.is_dir()


def model_folder(model_id: str, revision: str | None = None, parts: Parts = "weights") -> Path:
    """Where a model of texts lies, downloaded first if it is the Hub's and not yet here."""
    resolved = resolve_model_id(model_id)
    folder = Path(resolved)
    return folder if folder.is_dir() else fetch_model(resolved, revision, parts=parts)


def fetch_model(model_id: str, revision: str | None = None, *, parts: Parts = "small") -> Path:
    """The folder of this machine that holds a model of the Hub, downloaded first if need be.

    A commit that is there needs no Hub. Of a branch or tag (without one of the main branch) the Hub
    is asked which commit it is; where it does not answer, the copy that this machine holds serves,
    or it is `HubUnreachable`. What it refuses, or holds no model that can be loaded, is a
    `ModelError`. A snapshot of the Hub's cache is given, whose name is the commit.
    """
    require_address()
    asked = (constants.ENDPOINT, constants.HF_HUB_CACHE, model_id, revision)
    revision = _COMMITS.get(asked, revision)
    cached = cached_model(model_id, revision, parts)
    if constants.is_offline_mode():
        folder = cached or _unreachable(model_id, revision, f"{offline_switch()} is set")
    elif (
        cached
        and _COMMIT.fullmatch(revision or "")
        # A tokenizer or processor is there, too: other programs may have fetched weights alone.
        and any(_READER.fullmatch(path.name) for path in cached.iterdir())
    ):
        folder = cached
    else:
        folder = _ask_and_download(model_id, revision, parts, cached)
    _COMMITS[asked] = folder.name
    return folder


def trained_folder(model: Path | str, revision: str | None = None) -> Path:
    """Where a trained model lies: a folder of this machine, or the copy of a Hub repository.

    A folder that is there wins, and nothing is asked; what is taken from the Hub is told. That
    folder is called by its commit. A revision of a folder is a `ConfigError`, what is neither here
    nor there a `ModelError`.
    """
    folder = user_path(model)
    require_no_former(folder)
    if folder.exists() or not _REPOSITORY.fullmatch(str(model)):
        if revision is not None:
            raise ConfigError(
                f"`revision` is of a repository on the Hub (owner/name); {model} names a folder of "
                "this machine. Leave it out, or run the command elsewhere to mean the Hub's."
            )
        return folder
    try:
        found = fetch_model(str(model), revision, parts="published")
    except HubUnreachable as error:
        said = str(error).replace(
            f"{ANOTHER_MODEL}; `tiny` is embedded", "name a folder that is here"
        )
        raise HubUnreachable(f"There is no folder {model} here. {said}") from error
    if (found / MANIFEST).is_file():
        try:
            read_manifest(found)
        except ModelError as error:
            raise ModelError(
                f"{page_of(str(model))} is not as Footwork published it, at commit "
                f"{found.name[:12]}: {str(error).split('. ')[0].replace(f'{found}/', '')}. Take "
                "another revision, or tell its owners."
            ) from error
    note(f"{model} is no folder here: taken from the Hub, at commit {found.name[:12]}.")
    return found


def cached_model(model_id: str, revision: str | None, parts: Parts) -> Path | None:
    """The snapshot that this machine holds of a model, where it has the parts."""
    home = downloads.repository_folder(model_id)
    if not (revision and _COMMIT.fullmatch(revision)):
        try:
            revision = (home / "refs" / (revision or "main")).read_text().strip()
        except (OSError, ValueError):
            return None
    folder = home / "snapshots" / revision
    if not _COMMIT.fullmatch(revision) or not folder.is_dir():
        return None
    if parts == "published" and (folder / MANIFEST).is_file():
        files = _json_of(folder / MANIFEST).get("files") or ()
        return folder if all((folder / name).is_file() for name in files) else None
    names = [path.name for path in folder.iterdir() if path.is_file()]
    whole = "config.json" in names and (parts == "small" or weight_files(folder, names))
    return folder if whole else None


def weight_files(folder: Path, names: Iterable[str]) -> list[str]:
    """The files of a model's weights, all of one format: the first of which `names` has all.

    `folder` holds the configuration, and the indexes of weights in several files; `names` are of
    the files that are there, or on the Hub.
    """
    names = set(names)
    config = _json_of(folder / "config.json")
    stated = config.get("transformers_weights")
    if config.get(APART) is True:  # others may have been there before
        stated = _APART_WEIGHTS
    for name in (str(stated), *WEIGHTS):
        if name in names and not name.endswith(".index.json"):
            return [name]
        index = _json_of(folder / name).get("weight_map") if name in names else None
        if isinstance(index, dict) and (parts := set(map(str, index.values()))) and parts <= names:
            return sorted(parts)
    return []


def repository_of(folder: Path) -> str | None:
    """The Hub id of the model whose snapshot a folder is; None for one of the user's own."""
    if not folder.is_relative_to(constants.HF_HUB_CACHE):
        return None
    return "/".join(folder.parents[1].name.split("--")[1:])


def refusal(error: HfHubHTTPError, repo_id: str, revision: str | None, kind: str = "model") -> str:
    """Why the Hub answers 401, 403 or 404 for a repository, and what to do: sentences.

    `kind` is `model` or `data set`.
    """
    page = page_of(repo_id, kind)
    status, said = error.response.status_code, error.response.headers.get("X-Error-Message", "")
    token = get_token()
    if isinstance(error, errors.GatedRepoError):
        return gate_text(repo_id, kind)
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}.{_revisions(repo_id, kind)} See {page}"
    if status == 401 and token is not None and "nvalid username" not in said:
        place = "of HF_TOKEN" if os.environ.get("HF_TOKEN") else "that is stored on this machine"
        return (
            f"{constants.ENDPOINT} does not accept the access token {place}. Make one at "
            f"{constants.ENDPOINT}/settings/tokens and log in with it: hf auth login"
            f"{' (and unset HF_TOKEN, which goes before it)' * ('HF_TOKEN' in place)}. "
            "For what is public, no token is needed: "
            f"{'unset HF_TOKEN' if 'HF_TOKEN' in place else 'hf auth logout'}"
        )
    if status == 403:
        whom = "those who are not logged in (hf auth login)" if token is None else "your token"
        return f"{constants.ENDPOINT} forbids {repo_id} to {whom}: {said or 'no reason given'}."
    if status == 404 and not isinstance(error, errors.RepositoryNotFoundError):
        file = error.response.request.url.path.rpartition("/")[2]
        listed = f"lists {file}, and does not have it. Try again, or take another revision."
        no_hub = f"is not there: {constants.ENDPOINT} is no model hub. Check HF_ENDPOINT."
        return f"{page} {listed if isinstance(error, errors.EntryNotFoundError) else no_hub}"
    login = "log in with an account that may read it: hf auth login"
    if token is not None:
        login = "your token must be of an account that may read it (hf auth whoami tells which)"
    here = "folder" if kind == "model" else "file or folder"
    what = f"There is no {here} {repo_id}, and no {kind} {page}"
    return f"{what}. Check the name; if it is private, {login}"


def gate_text(repo_id: str, kind: str = "model") -> str:
    """What to do about a repository whose owners ask for consent to their terms: sentences."""
    page = page_of(repo_id, kind)
    if get_token() is None:
        return (
            f"{repo_id} is gated: its owners give it to those who accept their terms. Do so at "
            f"{page}, then log in on this machine: hf auth login"
        )
    return (
        f"{repo_id} is gated, and the account of your token has no access to it. Ask for it at "
        f"{page}; hf auth whoami tells the account, hf auth login changes it."
    )


def page_of(repo_id: str, kind: str = "model") -> str:
    """The address of a repository's page."""
    return f"{constants.ENDPOINT}/{'' if kind == 'model' else 'datasets/'}{repo_id}"


def _ask_and_download(
    model_id: str, revision: str | None, parts: Parts, cached: Path | None
) -> Path:
    try:
        commit, names = _ask(model_id, revision, patient=cached is None)
        return _download(model_id, commit, names, parts, revision)
    except (HTTPError, ValueError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in downloads.REFUSALS:
            reason = refusal(error, model_id, revision)
            copy = f"{reason.rstrip('.')}. HF_HUB_OFFLINE=1 takes the copy that this machine holds."
            raise ModelError(copy if cached else reason) from error
        no_json = f"{constants.ENDPOINT} does not answer as a model hub does"
        reason = downloads.failure_text(error) if isinstance(error, HTTPError) else no_json
    except HubUnreachable as error:
        if cached is None:
            raise
        reason = str(error).partition(". ")[0]
    except OSError as error:
        reason = f"{constants.HF_HUB_CACHE} cannot be written ({error.strerror})"
        if cached is None:
            message = f"{model_id} cannot be stored: {reason}. Set HF_HOME to a folder of yours."
            raise ModelError(message) from error
    if cached is None:
        return _unreachable(model_id, revision, reason)
    note(f"{reason}; taking the copy of {model_id} that this machine holds")
    return cached


def _ask(model_id: str, revision: str | None, *, patient: bool) -> tuple[str, list[str]]:
    """The commit of a revision, and its files; ValueError where it tells none."""
    limit = constants.HF_HUB_ETAG_TIMEOUT
    timeout = limit if patient else min(limit, _WITH_A_COPY)
    info = downloads.ask_hub(
        model_id,
        lambda: HfApi().model_info(model_id, revision=revision, timeout=timeout),
        patient=patient,
    )
    if not _COMMIT.fullmatch(info.sha or ""):
        raise ValueError(info.sha)
    return str(info.sha), [file.rfilename for file in info.siblings or ()]


def _download(
    model_id: str, commit: str, names: list[str], parts: Parts, revision: str | None
) -> Path:
    home = downloads.repository_folder(model_id)
    folder = home / "snapshots" / commit
    published = parts == "published" and MANIFEST in names
    last = MANIFEST if published else "config.json"
    if last not in names:
        hint = f"Take the model that it was made from, or {ANOTHER_MODEL}"
        fetch = f"hf download {model_id} --local-dir FOLDER"
        if ADAPTER_CONFIG in names:
            downloads.download_files(model_id, commit, [ADAPTER_CONFIG])
            base = _json_of(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "not told"
            hint = (
                f"It is an adapter alone, which adds to another model, its base: {base}. Name that "
                "base; or load the adapter with peft, and name the folder that `save_pretrained` "
                "makes of what `merge_and_unload` gives"
            )
        elif inner := sorted(name for name in names if name.endswith("/config.json")):
            within = inner[0].rpartition("/")[0]
            hint = (
                f"What lies in its sub-folders is loaded from here: {fetch}, then name "
                f"FOLDER/{within}"
            )
        hint = f"{_convert('FOLDER')}, after {fetch}" if OPEN_CLIP in names else hint
        raise ModelError(
            f"{model_id} holds no config.json, so transformers cannot load it; it holds "
            f"{_listed(names)}. {hint}."
        )
    wanted = [name for name in names if _SMALL.fullmatch(name)]
    if published:
        wanted = [name for name in names if not name.endswith(_OTHER_FRAMEWORKS)]
        wanted = [name for name in wanted if not {"", ".", ".."} & set(re.split(r"[/\\]", name))]
    # The file that tells what the folder is comes last: where it is, the others are.
    wanted.sort(key=lambda name: (name == last, name))
    downloads.download_files(model_id, commit, wanted)
    if not published:
        # Asked for a tokenizer alone, too: who asks for that is to load the weights next.
        files = weight_files(folder, names) or _refuse_weights(model_id, names)
        if parts != "small":
            downloads.download_files(model_id, commit, files)
    if revision != commit:
        _remember(home / "refs" / (revision or "main"), commit)
    return folder


def _refuse_weights(model_id: str, names: list[str]) -> NoReturn:
    index = next((name for name in names if name in _INDEXES), None)
    lacking = f"; {index} names others, which are missing" if index else ""
    renamed = ""
    if not index and any(name.endswith((".safetensors", ".bin")) for name in names):
        renamed = (
            "; or, where they only have another name or place: "
            f"hf download {model_id} --local-dir FOLDER, rename them, and name FOLDER"
        )
    raise ModelError(
        f"{model_id} does not hold all of its weights in a format that torch reads "
        f"(model.safetensors, pytorch_model.bin); it holds {_listed(names)}{lacking}. Take "
        f"another model{renamed}."
    )


def _remember(ref: Path, commit: str) -> None:
    """Which commit a branch or tag is, for when the Hub does not answer."""
    with suppress(OSError):
        ref.parent.mkdir(parents=True, exist_ok=True)
        if not ref.is_file() or ref.read_text() != commit:
            with published_file(ref) as sibling:
                sibling.write_text(commit)


def _json_of(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return read_object(path)
    return {}


def _unreachable(model_id: str, revision: str | None, reason: str) -> Path:
    part = cached_model(model_id, revision, "small")
    held = "only a part" if part else "no copy"
    # A commit is mostly what a branch was taken for, and no name that the user gave.
    at = f" at revision {revision!r}" if revision and not _COMMIT.fullmatch(revision) else ""
    hint = f"Run it once with a connection, or {ANOTHER_MODEL}"
    if " answers " in reason:
        hint = f"Try again later, or {ANOTHER_MODEL}"
    if constants.is_offline_mode():
        hint = f"Unset {offline_switch()} to download it, or {ANOTHER_MODEL}"
    raise HubUnreachable(
        f"{reason}, and this machine holds {held} of {model_id}{at}. {hint}; `tiny` is embedded."
    )


def require_address() -> None:
    """Refuse, by a `ConfigError`, an address of the Hub that is none."""
    if not constants.ENDPOINT.startswith(("https://", "http://")):
        raise ConfigError(
            f"HF_ENDPOINT must be an address that begins with https:// or http://, got "
            f"{constants.ENDPOINT!r}."
        )


def offline_switch() -> str:
    """The variable that keeps this process from the Hub."""
    set_ones = (name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name))
    return next(set_ones, "HF_HUB_OFFLINE")


def _revisions(repo_id: str, kind: str) -> str:
    with suppress(HTTPError, ValueError):
        refs = HfApi().list_repo_refs(repo_id, repo_type="model" if kind == "model" else "dataset")
        return f" It has {_listed([ref.name for ref in (*refs.branches, *refs.tags)])}."
    return ""


def _listed(names: list[str]) -> str:
    return shortened(sorted(name for name in names if name[0] != "."), 8) or "nothing"
