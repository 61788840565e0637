"""Model id → weights: the Hub, local folders, presets, and the embedded `tiny`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from footwork.errors import ConfigError, ModelError, first_line
from footwork.files.faults import counted
from footwork.files.folders import read_json, read_manifest, seal_of
from footwork.files.paths import shell_word, user_path
from footwork.methods.adaptation import adaptation_of
from footwork.methods.table import adapter_in
from footwork.models import hub
from footwork.models.deberta import accelerate_attention
from footwork.models.heads import TRAINED_COPY, HeadOrigin, set_labels, settle_head
from footwork.models.load_faults import known_reason, pointer_reason, tokenizer_reason
from footwork.models.pairs import class_for
from footwork.models.parts import head_names
from footwork.processes import entered_once


@entered_once
@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within the block no progress bar, and no table of missing weights: callers check those."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Of files that are refused a moment later.
            warnings.filterwarnings("ignore", "Detected pickle protocol|'torch.load' received")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


_POSITIONS = ("position_embeddings", "embed_positions", "wpe")


def token_table(model: Any) -> nn.Module | None:
    """The input embedding; None where there is no table of tokens, as in CANINE."""
    try:
        found: nn.Module = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return found


def position_limit(model: nn.Module) -> int | None:
    """Tokens that the model has learned positions for; None where positions are relative."""
    for name, module in model.named_modules():
        table: Any = getattr(module, "weight", None)
        if name.rpartition(".")[2] in _POSITIONS and isinstance(table, torch.Tensor):
            # Rows before the first token's: BART says how many, RoBERTa's end with the padding's.
            padding = getattr(module, "padding_idx", None)
            return len(table) - int(
                getattr(module, "offset", 0 if padding is None else padding + 1)
            )
    return None


MERGES = "`footwork textclf merge`, or `footwork zeroshot merge` of images"
WITH_REPORT: dict[str, Any] = {
    # A float16 checkpoint would give a float16 head, and AdamW NaN after one step.
    "dtype": torch.float32,
    "output_loading_info": True,
    "ignore_mismatched_sizes": True,
}
"""How a model is loaded in float32, with a report for `require_weights`."""


def load_tokenizer(model_id: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer, with a padding token, or a `ModelError`."""
    tokenizer = load_part(AutoTokenizer, model_id, revision=revision)
    if not tokenizer.is_fast:
        raise ModelError(
            f"{model_id} has no fast tokenizer; save one as tokenizer.json beside its weights."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_classifier(
    model_id: str,
    *,
    labels: Sequence[str],
    task: str,
    revision: str | None = None,
    unmerged: bool = False,
) -> tuple[PreTrainedModel, HeadOrigin]:
    """An encoder with a head for C labels, in float32, and where its output layer comes from.

    `model_id` is a Hub id, local folder, preset or `tiny`; `labels` are in the order of the logits,
    none for a regression; `task` is a `problem_type` of transformers. Of an adapter the base is
    loaded with its head, and with it merged unless it is to go on. A checkpoint that cannot be
    reached, or lacks weights of the encoder, is a `ModelError`.
    """
    former = load_part(AutoConfig, model_id, revision=revision)
    config = copy.deepcopy(former)
    set_labels(config, list(labels) or ["score"], task)
    auto_class, configs = AutoModelForSequenceClassification, (former, config)
    model, head = load_to_train(auto_class, model_id, configs, revision, unmerged=unmerged)
    return _prepared(model), head


def load_shape(model_id: str, revision: str | None = None) -> PreTrainedModel:
    """A classifier without weights, on the meta device: its sizes and names alone."""
    config = load_part(AutoConfig, model_id, revision=revision)
    return shape_of(AutoModelForSequenceClassification, config, model_id)


def shape_of(auto_class: Any, config: PreTrainedConfig, model_id: str) -> Any:
    """What `auto_class` makes of a configuration, on the meta device, or a `ModelError`."""
    try:
        with torch.device("meta"):
            if auto_class is AutoModelForSequenceClassification:
                auto_class = class_for(config)
            return auto_class.from_config(config, trust_remote_code=False)
    except (ValueError, ImportError) as error:
        reason = first_line(error)
        told = "" if "Unrecognized configuration class" in reason else f": {reason.rstrip('.')}"
        raise ModelError(
            f"{model_id} is a {config.model_type}, of which transformers cannot make a model for "
            f"{auto_class.__name__.removeprefix('AutoModelFor')}{told}. Name another model."
        ) from error


def load_trained(folder: Path | str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A trained classifier, adapter or plain, ready to answer.

    A folder that holds none, or whose base cannot be reached, is a `ModelError`.
    """
    folder = Path(folder)
    name = hub.repository_of(folder) or folder
    if not folder.exists():
        raise ModelError(f"There is no folder {folder}. Train one: footwork textclf train DATA OUT")
    if not (folder / "config.json").exists():
        raise ModelError(
            f"{name} holds no trained classifier (no config.json). "
            "Train one: footwork textclf train DATA OUT."
        )
    if (folder / "preprocessor_config.json").exists():
        raise ModelError(
            f"{name} is a model of images, not of texts: footwork zeroshot label PHOTOS --taught "
            f"{shell_word(name)}"
        )
    tokenizer = load_tokenizer(str(folder))
    return _prepared(load_finished(folder, AutoModelForSequenceClassification)), tokenizer


def load_to_train(
    auto_class: Any,
    model_id: str,
    configs: tuple[PreTrainedConfig, PreTrainedConfig],
    revision: str | None,
    unfit: str | None = None,
    *,
    unmerged: bool = False,
) -> tuple[Any, HeadOrigin]:
    """A model with our labels, and where its output layer comes from.

    `configs` are that of the checkpoint and ours; `unfit` is as of `settle_head`.
    """
    former, config = configs
    options = {"config": config, "revision": revision}
    model, report = _load_whole(auto_class, model_id, options, unmerged=unmerged)
    return model, settle_head(model, former, report, unfit)


def _load_whole(
    auto_class: Any, model_id: str, options: dict[str, Any], *, unmerged: bool = False
) -> tuple[Any, dict[str, Any]]:
    """A model in float32 and the report of its loading; its head is new where none fits `config`.

    An adapter, here or on the Hub, gives its base with its head, and with it merged.
    """
    folder = hub.model_folder(model_id, options["revision"])
    options = options | WITH_REPORT
    if not adapter_in(folder):
        model, report = load_part(auto_class, model_id, **options)
    else:
        adapted = load_adapter(folder, auto_class)
        plain = adaptation_of(adapted).merged(adapted)
        if unmerged:
            plain = _base_with_head(folder, adapted, auto_class)
        elif plain is adapted:
            raise ModelError(
                f"{model_id} is an adapter of a kind that cannot be merged into its base. Train "
                "it on with --continue, or name its base."
            )
        options |= {"revision": None, "state_dict": plain.state_dict()}
        with quiet_transformers():
            model, report = type(plain).from_pretrained(None, **options)
    require_weights(model, report, model_id, new=head_names(model))
    return model, report


def load_finished(folder: Path, auto_class: Any) -> Any:
    """A trained model, adapter or plain, in float32 and ready to answer, or a `ModelError`."""
    if adapter_in(folder):
        return load_adapter(folder, auto_class).eval()
    model, report = load_part(auto_class, str(folder), **WITH_REPORT)
    if report["missing_keys"]:
        lacking = sorted(report["missing_keys"])[0]
        if repository := hub.repository_of(folder):
            raise ModelError(
                f"{repository} is no finished classifier: it lacks weights, {lacking} among them. "
                f"Train one on it: --model {repository}"
            )
        raise ModelError(f"{folder} lacks weights, {lacking} among them; train it again.")
    require_weights(model, report, hub.repository_of(folder) or str(folder))
    return model.eval()


def save_model(folder: Path, model: Any, *, merge: bool = False) -> None:
    """Write the weights: an adapter with the base's configuration beside it, or a plain model."""
    if merge:
        model = adaptation_of(model).merged(model)
    with quiet_transformers():
        adaptation_of(model).save(folder, model)


def model_commit(model_id: str, revision: str | None = None) -> str | None:
    """The Hub commit that this process loads a model from, None for a local folder."""
    resolved = hub.resolve_model_id(model_id)
    return None if Path(resolved).is_dir() else hub.fetch_model(resolved, revision).name


def load_adapter(folder: Path, auto_class: Any) -> Any:
    """An adapter over its base, from a folder that holds it and the classifier's configuration.

    A base that cannot be reached, or does not fit, is a `ModelError`.
    """
    found = adapter_in(folder)
    assert found is not None
    name, base_id = hub.repository_of(folder) or folder, base_of(folder)[0]
    base, report = _load_base(folder, auto_class)
    # What the base lacks is random; as no number it shows where the adapter does not bring it.
    lacking = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    brought = {id(each) for key, each in base.named_parameters() if key not in lacking}
    for each in base.parameters():
        if id(each) not in brought:
            each.detach().fill_(torch.nan)
    try:
        adapted = found[1].adaptation.load(folder, base)
    except Exception as error:
        told = shorten(first_line(error).rstrip("."), 400, placeholder=" …") + ". Check its files."
        told = f"its files lack {error}." if isinstance(error, KeyError) else told
        reason = pointer_reason(folder) or told
        raise ModelError(f"Cannot load the adapter in {name}: {reason}") from error
    for key, each in adapted.named_parameters():
        if id(each) not in brought and "original_module" not in key and each.isnan().any():
            raise ModelError(
                f"The adapter in {name} lacks {key}, and its base, {base_id}, has no such weight: "
                "a random one would answer. Copy the folder again."
            )
    return adapted


def base_of(folder: Path) -> tuple[str, str | None]:
    """What the adapter in a folder stands over: id and commit of its base."""
    file, adapter = _adapter_file(folder), read_json(_adapter_file(folder))
    base_id = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    if not isinstance(base_id, str):
        raise ModelError(f"{file} names no base. Copy the folder again.")
    _require_base(file, base_id)
    return base_id, adapter.get("revision")


def with_bases(model: Path | str) -> list[str]:
    """A model and, where it is an adapter of this machine, what it stands over, the last plain.

    One that stands over itself, as if moved to the place of its base, is a `ModelError`.
    """
    chain, seen = [str(model)], set[Path]()
    while adapter_in(folder := user_path(chain[-1])):
        if folder.resolve() in seen:
            raise ModelError(
                f"{folder} is an adapter that stands over itself: `base_model_name_or_path` in "
                f"{_adapter_file(user_path(chain[-2]))} names it. Put the base back that stood "
                "there, or write its new place under that name."
            )
        seen.add(folder.resolve())
        chain.append(base_of(folder)[0])
    return chain


def _adapter_file(folder: Path) -> Path:
    found = adapter_in(folder)
    assert found is not None
    return found[0]


def _load_base(folder: Path, auto_class: Any) -> Any:
    """The base of an adapter, made for its labels, and the report of its loading."""
    base_id, revision = base_of(folder)
    options = {"revision": revision, "config": load_part(AutoConfig, str(folder))}
    texts = auto_class is AutoModelForSequenceClassification
    known = read_manifest(folder, verify=False).get("model")
    seal = known.get("sha256") if isinstance(known, dict) else None
    if seal is not None and seal != seal_of(Path(base_id)):
        raise ModelError(
            f"{folder} is an adapter over {base_id}, which is another model by now: it was trained "
            "or published anew. Put the one back that the adapter learned on, or train it again."
        )
    base_id = (hub.TEXT_PRESETS if texts else hub.IMAGE_PRESETS).get(base_id, base_id)
    try:  # the adapter brings its own head
        with_bases(folder)
        return _load_whole(auto_class, base_id, options)
    except (ConfigError, ModelError) as error:
        reason = str(error).replace(
            f"{hub.ANOTHER_MODEL}; `tiny` is embedded",
            f"take what the adapter was merged into elsewhere ({MERGES}): that needs no base",
        )
        raise ModelError(
            f"{hub.repository_of(folder) or folder} is an adapter over {base_id} "
            f"(`base_model_name_or_path` in its {_adapter_file(folder).name}), and answers with "
            f"it alone. {reason}"
        ) from error


def _base_with_head(folder: Path, adapted: Any, auto_class: Any) -> Any:
    """The base of a loaded adapter with the head that it brought, and nothing else of it."""
    base, _ = _load_base(folder, auto_class)
    inner = adapted.get_base_model() if hasattr(adapted, "get_base_model") else adapted
    own = {key.replace(TRAINED_COPY, ""): each for key, each in inner.state_dict().items()}
    for name in head_names(base):
        head = base.get_submodule(name)
        head.load_state_dict({key: own[f"{name}.{key}"] for key in head.state_dict()})
    return base


def _require_base(file: Path, base_id: str) -> None:
    folder, place = file.parent, "write its new place under `base_model_name_or_path` in"
    repository, path = hub.repository_of(folder), Path(base_id)
    is_path = path.is_absolute() or base_id.startswith((".", "~")) or base_id.count("/") > 1
    # What stands under a relative path of the Hub's here is something else.
    here = (path / "config.json").exists() and (path.is_absolute() or repository is None)
    if here or not is_path:
        return
    if repository is not None:
        raise ModelError(
            f"{repository} is an adapter over a model that only its maker's machine has, in "
            f"{base_id}. Ask them to publish it merged into that model ({MERGES}). If you have "
            f"that model: hf download {repository} --local-dir FOLDER, {place} "
            f"FOLDER/{file.name}, and name FOLDER."
        )
    raise ModelError(
        f"{folder} is an adapter over the model in {base_id}, which is not there any more. "
        f"Move that model back, or {place} "
        f"{file} and remove `files` and `sha256` from the footwork.json "
        "beside it. To need no base, once it loads: "
        f"footwork textclf merge {shell_word(folder)} OUT (of images: footwork zeroshot merge)"
    )


def _format_options(folder: Path) -> dict[str, Any]:
    """What transformers must be told to find the weights of a folder."""
    found = hub.weight_files(folder, [path.name for path in folder.iterdir()])
    if found and found[0].endswith(".bin"):
        # It would follow an index of safetensors that are not there.
        return {"use_safetensors": False}
    apart = any(f".{hub.APART}." in name for name in found)
    return {"variant": hub.APART} if apart else {}


def _prepared(model: Any) -> Any:
    accelerate_attention(model)
    config: PreTrainedConfig = model.config
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id  # decoders pool the last token before padding
    return model


def require_weights(
    model: Any, report: Mapping[str, Any], model_id: str, new: Sequence[str] = ()
) -> None:
    """Refuse, by a `ModelError`, a checkpoint in whose place random weights would stand.

    The model was just loaded, with `ignore_mismatched_sizes`; `report` is what transformers says of
    that; `new` are modules that may be new.
    """

    def is_pretrained(key: str) -> bool:
        return not key.startswith(tuple(f"{name}." for name in new))

    if names := sorted(filter(is_pretrained, report["missing_keys"])):
        raise ModelError(
            f"{model_id} lacks {counted(len(names), 'weight')} of the encoder, {names[0]} among "
            f"them: its files do not fit a {type(model).__name__}. Check the model id."
        )
    if others := sorted(each for each in report["mismatched_keys"] if is_pretrained(each[0])):
        name, stored, stated = others[0]
        shapes = (" × ".join(map(str, shape)) for shape in (stored, stated))
        raise ModelError(
            f"The weights of {model_id} do not fit its config.json, which says another shape of "
            f"{counted(len(others), 'weight')}: {name} is {' and not '.join(shapes)}. Take the two "
            "from one place, or another model."
        )


def load_part(auto_class: Any, model_id: str, **options: Any) -> Any:
    """One part of a model: `auto_class.from_pretrained`, with its many exceptions as one."""
    resolved = hub.resolve_model_id(model_id)
    if auto_class is AutoTokenizer:
        # Of a kind of model that is unknown, transformers finds no tokenizer either.
        load_part(AutoConfig, model_id, revision=options.get("revision"))
    # Models alone, of all that is loaded, can be made from a configuration, too.
    parts: hub.Parts = "weights" if hasattr(auto_class, "from_config") else "small"
    folder = str(hub.model_folder(resolved, options.pop("revision", None), parts))
    if parts == "weights":
        if auto_class is AutoModelForSequenceClassification:
            auto_class = class_for(options.get("config") or load_part(AutoConfig, folder))
        options |= _format_options(Path(folder))
    try:
        with quiet_transformers():
            found = auto_class.from_pretrained(folder, trust_remote_code=False, **options)
    except MemoryError:
        raise
    except Exception as error:
        reason = pointer_reason(Path(folder)) or known_reason(error, auto_class, Path(folder))
        name = hub.repository_of(Path(folder)) or model_id
        raise ModelError(
            f"Cannot load the model {name!r}: {reason.replace(folder, str(name))}"
        ) from error
    part = found[0] if isinstance(found, tuple) else found
    if auto_class is AutoTokenizer and len(part) <= len(set(part.all_special_tokens)):
        # transformers makes an empty one where it finds no files, or knows no class for them.
        reason = tokenizer_reason(Path(folder))
        raise ModelError(f"Cannot load the model {model_id!r}: {reason}")
    if hasattr(part, "name_or_path"):
        part.name_or_path = resolved  # what is saved names the model, not a folder of the cache
    return found
