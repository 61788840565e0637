"""What the audit asks of a model: how it divides texts into tokens, and how large it is.

Loading torch and transformers takes seconds and half a gigabyte. Where a model's small files tell
all, they are not loaded; otherwise a model without weights is asked, as transformers makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footwork.class_names import class_name
from footwork.files.plain_files import read_object
from footwork.models.heads import can_solve_output
from footwork.models.hub import model_folder
from footwork.options import Precision
from footwork.tables.labels import MULTI_LABEL
from textclf.audit.cost import ModelSize, computes_in_float32
from textclf.audit.tokens import Vocabulary

if TYPE_CHECKING:
    from textclf.config import TrainConfig


@dataclass(frozen=True, slots=True)
class AuditedModel:
    """A model without its weights."""

    vocabulary: Vocabulary
    size: ModelSize
    classes: frozenset[str]
    """That it tells apart, as those of a table are read; none where a text may have several."""
    solvable: bool = True
    """Whether its head can be solved."""

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> AuditedModel:
        """Of a classifier of transformers, whose weights may be on the meta device."""
        unknown = -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id
        vocabulary = Vocabulary(tokenizer.backend_tokenizer, unknown)
        solvable = can_solve_output(model)
        return cls(vocabulary, size_of(model), _classes(model.config.to_dict()), solvable)


def _classes(config: Mapping[str, Any]) -> frozenset[str]:
    """Those that a configuration names, of a model of one class a text."""
    if config.get("problem_type") == MULTI_LABEL:
        return frozenset()
    return frozenset(map(class_name, config.get("id2label", {}).values()))


def size_of(model: Any) -> ModelSize:
    """Of a classifier of transformers, whose weights may be on the meta device."""
    from footwork.models.checkpoints import position_limit, token_table

    table = token_table(model)
    tokens = 0 if table is None else sum(p.numel() for p in table.parameters())
    return ModelSize(
        parameters=sum(p.numel() for p in model.parameters()),
        embedding_parameters=tokens,
        encoder_parameters=sum(p.numel() for p in model.base_model.parameters()) - tokens,
        hidden_size=getattr(model.config, "hidden_size", None),
        num_layers=getattr(model.config, "num_hidden_layers", None),
        num_heads=getattr(model.config, "num_attention_heads", None),
        positions=position_limit(model),
    )


def open_model(config: TrainConfig) -> tuple[AuditedModel, Precision]:
    """What a run would train, and the precision that it would compute in.

    What cannot be read, or cannot do what the run asks for, is refused as a training refuses it.
    """
    shape: Any = None
    model = _from_files(model_folder(config.model_id, config.revision, "small"))
    if model is not None and computes_in_float32(config.mixed_precision):
        return model, "float32"
    from footwork.accelerator import settled_precision

    if model is None:
        from footwork.methods.adaptation import require_adaptable
        from footwork.models.checkpoints import load_shape, load_tokenizer

        tokenizer = load_tokenizer(config.model_id, config.revision)
        shape = load_shape(config.model_id, config.revision)
        require_adaptable(shape, config, checkpointing=config.activation_checkpointing)
        model = AuditedModel.of(shape, tokenizer)
    return model, settled_precision(config.mixed_precision, shape)


def _from_files(folder: Path) -> AuditedModel | None:
    """What is as exactly so when transformers loads it; None where it may be otherwise.

    A tokenizer that transformers 5 saved from `tokenizers` is the one that it makes again. Older
    files it reads in ways of its own. What is wrong with a file, it tells, too.
    """
    from tokenizers import Tokenizer

    try:
        config, tokens = (read_object(folder / f"{n}config.json") for n in ("", "tokenizer_"))
        if tokens["backend"] != "tokenizers" or "auto_map" in config or "auto_map" in tokens:
            return None
        if config["hidden_size"] % config["num_attention_heads"] or (
            config["hidden_act"] not in ("gelu", "gelu_new", "relu", "silu", "tanh")
        ):
            return None  # transformers tells what is wrong
        size = _SIZES[config["model_type"]](config)
        # Any fault of the file is a bare Exception.
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        unknown = tokenizer.token_to_id(tokens["unk_token"])
        if not _is_as_saved(tokens, tokenizer):
            return None
    except Exception:  # noqa: BLE001
        return None
    if unknown is None or tokenizer.get_vocab_size() <= len(tokenizer.get_added_tokens_decoder()):
        return None
    return AuditedModel(Vocabulary(tokenizer, unknown), size, _classes(config))


def _is_as_saved(tokens: Mapping[str, Any], tokenizer: Any) -> bool:
    """Whether tokenizer_config.json asks for nothing that tokenizer.json does not have."""
    extra = tokens.get("extra_special_tokens") or ()
    if tokens.get("split_special_tokens") or None in map(tokenizer.token_to_id, extra):
        return False
    normalizer = str(tokenizer.normalizer)
    lowers = "Lowercase" in normalizer or "lowercase=True" in normalizer
    return bool(tokens.get("do_lower_case", lowers)) == lowers


def _bert_size(config: Mapping[str, Any]) -> ModelSize:
    """BERT's, of whose pooler RoBERTa makes the first layer of the head."""
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise KeyError("is_decoder")
    width, inner = config["hidden_size"], config["intermediate_size"]
    positions, layers = config["max_position_embeddings"], config["num_hidden_layers"]
    layer = 4 * _linear(width, width) + _linear(width, inner) + _linear(inner, width)
    encoder = (positions + config["type_vocab_size"]) * width + _norm(width)
    encoder += layers * (layer + 2 * _norm(width))
    tokens, dense = config["vocab_size"] * width, _linear(width, width)
    roberta = config["model_type"] != "bert"
    return ModelSize(
        parameters=tokens + encoder + dense + _linear(width, _num_labels(config)),
        embedding_parameters=tokens,
        encoder_parameters=encoder + (0 if roberta else dense),
        hidden_size=width,
        num_layers=layers,
        num_heads=config["num_attention_heads"],
        positions=positions - (config["pad_token_id"] + 1 if roberta else 0),
    )


def _deberta_size(config: Mapping[str, Any]) -> ModelSize:
    """DeBERTa's of versions 2 and 3, without its rarer parts."""
    if not {"embedding_size", "attention_head_size", "conv_kernel_size"}.isdisjoint(config):
        raise KeyError("conv_kernel_size")
    if not isinstance(config["pos_att_type"], list):
        raise TypeError(config["pos_att_type"])
    width, inner = config["hidden_size"], config["intermediate_size"]
    positions, layers = config["max_position_embeddings"], config["num_hidden_layers"]
    absolute, relative = config["position_biased_input"], config["relative_attention"]
    maps = 4
    if relative and not config["share_att_key"]:
        maps += len({"c2p", "p2c"}.intersection(config["pos_att_type"]))
    layer = maps * _linear(width, width) + _linear(width, inner) + _linear(inner, width)
    encoder = (config["type_vocab_size"] + absolute * positions) * width + _norm(width)
    encoder += layers * (layer + 2 * _norm(width))
    if relative:
        sizes = (config["position_buckets"], config["max_relative_positions"], positions)
        encoder += 2 * next(size for size in sizes if size > 0) * width
    if "layer_norm" in config["norm_rel_ebd"].lower().split("|"):
        encoder += _norm(width)
    tokens, pooled = config["vocab_size"] * width, config["pooler_hidden_size"]
    head = _linear(pooled, pooled) + _linear(width, _num_labels(config))
    return ModelSize(
        parameters=tokens + encoder + head,
        embedding_parameters=tokens,
        encoder_parameters=encoder,
        hidden_size=width,
        num_layers=layers,
        num_heads=config["num_attention_heads"],
        positions=positions if absolute else None,
    )


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def _norm(width: int) -> int:
    return 2 * width


def _num_labels(config: Mapping[str, Any]) -> int:
    """Transformers names two labels where a configuration names none."""
    if "num_labels" in config:
        raise KeyError("num_labels")
    return len(config.get("id2label", ("LABEL_0", "LABEL_1")))


_SIZES: Mapping[str, Callable[[Mapping[str, Any]], ModelSize]] = {
    "bert": _bert_size,
    "deberta-v2": _deberta_size,
    "roberta": _bert_size,
    "xlm-roberta": _bert_size,
}
"""By `model_type`: what every method can adapt, and what is computed in bf16 as well."""
