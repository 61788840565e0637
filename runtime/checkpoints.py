"""Model id → weights: the Hub, local folders, presets, and the embedded `tiny`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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

from runtime.deberta import accelerate_attention
from runtime.errors import ModelError
from runtime.folders import read_json

TINY_TEXT = Path(__file__).parent / "tiny" / "text"
TEXT_PRESETS = {
    "tiny": str(TINY_TEXT),
    "fast": "microsoft/deberta-v3-xsmall",
    "accurate": "microsoft/deberta-v3-large",
    "multilingual": "microsoft/mdeberta-v3-base",
}
ADAPTER_CONFIG = "adapter_config.json"


def resolve_model_id(model_id: str) -> str:
    """A Hub id or a folder: presets and `tiny` looked up, an existing folder made absolute."""
    if model_id in TEXT_PRESETS:
        return TEXT_PRESETS[model_id]
    path = Path(model_id).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            message = f"{model_id} is a folder without config.json, so it holds no model."
            raise ModelError(message)
        return str(path.resolve())
    if model_id.startswith((".", "/", "~")) or model_id.count("/") > 1:
        message = (
            f"There is no model folder {model_id}. Name a folder, a Hub id (owner/name) or `tiny`."
        )
        raise ModelError(message)
    return model_id


def load_tokenizer(model_id: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer, with a padding token.

    Raises:
        ModelError: It cannot be reached or read.
    """
    tokenizer = _load(AutoTokenizer, model_id, revision=revision)
    if not tokenizer.is_fast:
        message = (
            f"{model_id} has no fast tokenizer; save one as tokenizer.json beside its weights."
        )
        raise ModelError(message)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_classifier(
    model_id: str, *, labels: Sequence[str], task: str, revision: str | None = None
) -> PreTrainedModel:
    """An encoder with a new classification head, in float32.

    Args:
        model_id: Hub id, local folder, preset or `tiny`.
        labels: C class names in the order of the logits; none for regression.
        task: A `problem_type` of transformers.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: The checkpoint cannot be reached, or lacks weights of the encoder.
    """
    names = list(labels) or ["score"]
    config = _load(AutoConfig, model_id, revision=revision)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    config.problem_type = task
    model, report = _load(
        AutoModelForSequenceClassification,
        model_id,
        revision=revision,
        config=config,
        # A float16 checkpoint would give a float16 head, and AdamW NaN after one step.
        dtype=torch.float32,
        # A head for other labels is replaced; the encoder is checked below.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _require_encoder(model, report, model_id)
    return _prepared(model)


def load_shape(model_id: str, revision: str | None = None) -> PreTrainedModel:
    """A classifier without weights, on the meta device: its sizes and names alone."""
    config = _load(AutoConfig, model_id, revision=revision)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


def load_trained(folder: Path | str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A trained classifier, adapter or plain, ready to answer.

    Raises:
        ModelError: The folder holds no classifier, or its base cannot be reached.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        message = (
            f"{folder} holds no trained classifier (no config.json). "
            "Train one: footwork textclf train DATA OUT."
        )
        raise ModelError(message)
    tokenizer = load_tokenizer(str(folder))
    if (folder / ADAPTER_CONFIG).exists():
        model = _load_adapter(folder)
    else:
        model, report = _load(
            AutoModelForSequenceClassification,
            str(folder),
            dtype=torch.float32,
            output_loading_info=True,
        )
        if report["missing_keys"]:
            lacking = sorted(report["missing_keys"])[0]
            message = f"{folder} lacks weights, {lacking} among them; train it again."
            raise ModelError(message)
    return _prepared(model).eval(), tokenizer


def model_commit(model: PreTrainedModel) -> str | None:
    """The Hub commit that `model` came from, None for a local folder."""
    return getattr(model.config, "_commit_hash", None)


def position_limit(model: nn.Module) -> int | None:
    """Tokens that the model has learned positions for; None where positions are relative."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and hasattr(module, "num_embeddings"):
            # RoBERTa counts positions from the one after the padding's.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - first
    return None


def _load_adapter(folder: Path) -> Any:
    from peft import PeftModel

    adapter = read_json(folder / ADAPTER_CONFIG)
    config = _load(AutoConfig, str(folder))
    base = _load(
        AutoModelForSequenceClassification,
        adapter["base_model_name_or_path"],
        revision=adapter.get("revision"),
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # the adapter brings its own head
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # peft warns of a base whose config it cannot find on the Hub
        return PeftModel.from_pretrained(base, str(folder))


def _prepared(model: Any) -> Any:
    accelerate_attention(model)
    config: PreTrainedConfig = model.config
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id  # decoders pool the last token before padding
    return model


def _require_encoder(model: PreTrainedModel, report: dict[str, Any], model_id: str) -> None:
    prefix = f"{model.base_model_prefix}."
    missing = [
        key for key in report["missing_keys"] if key.startswith(prefix) and ".pooler." not in key
    ]
    if missing:
        message = (
            f"{model_id} lacks {len(missing)} weights of the encoder, {sorted(missing)[0]} "
            f"among them: its files do not fit a {type(model).__name__}. Check the model id."
        )
        raise ModelError(message)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without its table of missing weights (checked here) and its progress bar."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _load(auto_class: Any, model_id: str, **options: Any) -> Any:
    """`auto_class.from_pretrained`, with its many exceptions as one."""
    resolved = resolve_model_id(model_id)
    try:
        with quiet_transformers():
            return auto_class.from_pretrained(resolved, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = (
            "Check its files."
            if Path(resolved).is_dir()
            else "If this machine cannot reach the Hub, give --model a local folder with "
            "config.json, weights and tokenizer, or `tiny`, the embedded model."
        )
        message = f"Cannot load the model {model_id!r}: {reason} {hint}"
        raise ModelError(message) from error
