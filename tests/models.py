"""Real architectures, tiny: built from configs, with real tokenizers of 150 to 270 pieces.

The vocabulary holds every printable ASCII character and a few words, so any English text has
tokens of its own. Nothing is downloaded.
"""

from __future__ import annotations

import json
import string
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FAMILIES = ("bert", "roberta", "deberta-v2")
FREQUENT = (
    "the a an of and to in is was it this that not very good bad great poor film movie book food "
    "service price love hate like best worst fine dull happy sad angry question who what where when"
)
WORDS = FREQUENT.split()
MAX_LENGTH = 64
WIDTHS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,  # wide, so that logits of untrained models differ from text to text
}


def build_tokenizer(family: str) -> Any:
    """A tokenizer of the family's own class."""
    from transformers import BertTokenizer, DebertaV2Tokenizer, RobertaTokenizer

    characters = [c for c in string.printable if not c.isspace()]
    if family in ("bert", "modernbert"):
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
        pieces = list(dict.fromkeys([*pieces, *WORDS, *(f"##{c}" for c in characters)]))
        vocabulary = {piece: index for index, piece in enumerate(pieces)}
        return BertTokenizer(vocab=vocabulary, model_max_length=128)
    if family == "roberta":
        return _byte_tokenizer(RobertaTokenizer)
    special = [(piece, 0.0) for piece in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    words = [(f"▁{word}", -3.0) for word in WORDS]
    letters = [(c, -9.0) for c in ["▁", *characters]]
    return DebertaV2Tokenizer(vocab=[*special, *words, *letters, ("[MASK]", 0.0)], unk_id=3)


def _byte_tokenizer(tokenizer_class: Any) -> Any:
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    pairs = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n")]
    for left, right in pairs:
        vocabulary[left + right] = len(vocabulary)
    return tokenizer_class(vocab=vocabulary, merges=pairs, model_max_length=128)


def build_config(family: str, tokenizer: Any, labels: Sequence[str] = (), task: str = "") -> Any:
    """The config of a two-layer model, 32 wide; without `task` it names no labels."""
    from transformers import AutoConfig

    names = list(labels) or ["LABEL_0"]
    head: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": task,
    }
    own: dict[str, dict[str, Any]] = {
        "bert": {"max_position_embeddings": 128},
        "roberta": {
            "max_position_embeddings": 130,
            "type_vocab_size": 1,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        "deberta-v2": {
            "max_position_embeddings": 128,
            "relative_attention": True,
            "position_buckets": 16,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
            "pooler_hidden_size": WIDTHS["hidden_size"],
        },
        "modernbert": {
            "max_position_embeddings": 128,
            "local_attention": 16,
            "pad_token_id": tokenizer.pad_token_id,
            "cls_token_id": tokenizer.cls_token_id,
            "bos_token_id": tokenizer.cls_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "eos_token_id": tokenizer.sep_token_id,
        },
    }
    return AutoConfig.for_model(
        family, vocab_size=len(tokenizer), **WIDTHS, **own[family], **(head if task else {})
    )


def build_base(folder: Path, family: str, seed: int = 0) -> Path:
    """Save an encoder with its tokenizer and no head, as the Hub ships them.

    Returns:
        `folder`.
    """
    import torch
    from transformers import AutoModel

    tokenizer = build_tokenizer(family)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(build_config(family, tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_classifier(
    folder: Path,
    family: str = "bert",
    labels: Sequence[str] = ("negative", "positive"),
    task: str = "single_label_classification",
    *,
    seed: int = 0,
) -> Path:
    """Save an untrained classifier as a plain folder: model, tokenizer, `footwork.json`.

    Args:
        folder: Where; made if absent.
        family: One of `FAMILIES`.
        labels: Names, in the order of the logits; () for regression.
        task: A `problem_type` of transformers.
        seed: Of the weights.

    Returns:
        `folder`.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    tokenizer = build_tokenizer(family)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = build_config(family, tokenizer, labels, task)
        model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, labels, task, method="full")
    return folder


def build_adapter(
    folder: Path,
    base: Path,
    labels: Sequence[str] = ("negative", "positive"),
    task: str = "single_label_classification",
) -> Path:
    """Save a LoRA adapter with random, non-zero weights over the encoder in `base`.

    Returns:
        `folder`: adapter, the base's config with labels, tokenizer, `footwork.json`.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    family = json.loads((base / "config.json").read_text())["model_type"]
    config = build_config(family, tokenizer, labels, task)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_pretrained(
            base, config=config, dtype=torch.float32
        )
        lora = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=4,
            target_modules=r".*encoder\.layer\..*(query|key|value|query_proj|key_proj|value_proj|dense)",
            modules_to_save=_head_modules(family),
            init_lora_weights=False,
        )
        with warnings.catch_warnings():
            # peft asks for `is_gradient_checkpointing`, which transformers renamed.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(model, lora)
    adapted.save_pretrained(folder)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, labels, task, method="lora", model_id=str(base))
    return folder


def _head_modules(family: str) -> list[str]:
    """Names of what is new on top of the encoder; DeBERTa's pooler is new too."""
    return ["classifier", "pooler"] if family == "deberta-v2" else ["classifier"]


def write_manifest(
    folder: Path, labels: Sequence[str], task: str, *, method: str, model_id: str = ""
) -> None:
    """Write a `footwork.json` with the fields that loading and predicting read."""
    manifest = {
        "labels": list(labels),
        "task": task,
        "method": method,
        "model": {"id": model_id or str(folder), "revision": None},
        "calibration": {
            "temperature": 1.0,
            "abstain_below": None,
            "ece_before": 0.0,
            "ece_after": 0.0,
        },
        "max_length": MAX_LENGTH,
    }
    (folder / "footwork.json").write_text(json.dumps(manifest, indent=2) + "\n")
