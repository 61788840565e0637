"""What the text benchmarks run on: texts, a tokenizer of 128,001 entries, shapes of DeBERTa-v3.

All of it is made here, from a seed. Lengths follow SST-2's: a gamma distribution with a mean of
18.5 words and a standard deviation of 9.4; words follow Zipf's law, so 6,920 texts touch about as
many entries of the vocabulary as SST-2's do (13,000).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VOCABULARY = 128_001
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
MEAN_WORDS, DEVIATION_WORDS, LONGEST = 18.5, 9.4, 56
ZIPF = 1.0
TELLING = 40  # words of each class that tell it
TELLING_SHARE = 0.15  # of a text's words
SEED = 0
LABELS = ("negative", "positive")


@dataclass(frozen=True, slots=True)
class Shape:
    """Width and depth of a DeBERTa-v3 model."""

    width: int
    layers: int
    heads: int
    words: int = VOCABULARY
    """Entries of the tokenizer."""


SMALL = Shape(768, 6, 12)  # DeBERTa-v3-small
NARROW = Shape(128, 2, 4)  # learns something in a minute
MINIATURE = Shape(32, 2, 4, words=2_000)


def make_texts(lengths: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> list[str]:
    """Texts of Zipf-distributed words, some of which tell the label."""
    words = VOCABULARY - len(SPECIAL)
    weights = 1.0 / np.arange(10, words + 10) ** ZIPF
    plain = random.choice(words, size=int(lengths.sum()), p=weights / weights.sum())
    telling = np.repeat(labels, lengths) * TELLING + random.integers(TELLING, size=len(plain)) + 500
    drawn = np.where(random.random(len(plain)) < TELLING_SHARE, telling, plain)
    parts = np.split(drawn, np.cumsum(lengths)[:-1])
    return [" ".join(f"w{word}" for word in part) for part in parts]


def write_table(path: Path, rows: int, words: tuple[int, int] | None = None) -> Path:
    """A table of `text` and `label`, two classes, with SST-2's lengths or those given."""
    random = np.random.default_rng([SEED, *path.name.encode()])
    labels = random.integers(2, size=rows)
    shape = (MEAN_WORDS / DEVIATION_WORDS) ** 2
    drawn = random.gamma(shape, MEAN_WORDS / shape, rows)
    lengths = np.clip(np.rint(drawn), 1, LONGEST).astype(int)
    if words is not None:
        lengths = random.integers(words[0], words[1] + 1, rows)
    texts = make_texts(lengths, labels, random)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(zip(texts, np.array(LABELS)[labels], strict=True))
    return path


def mixed_texts(rows: int) -> list[str]:
    """As many of 4 to 8 words as of 128 to 256."""
    random = np.random.default_rng(SEED)
    lengths = np.rint(np.exp(random.uniform(np.log(4), np.log(256), rows))).astype(int)
    return make_texts(lengths, random.integers(2, size=rows), random)


def save_tokenizer(folder: Path, size: int) -> None:
    """One entry a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    entries = [*SPECIAL, *(f"w{word}" for word in range(size - len(SPECIAL)))]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    names = ("pad", "cls", "sep", "unk", "mask")
    special = {f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    wrapped.model_input_names = ["input_ids", "attention_mask"]
    wrapped.save_pretrained(folder)


def save_classifier(folder: Path, shape: Shape) -> Path:
    """Random weights in a plain folder, head included, so that every peer starts alike."""
    import torch
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    config = DebertaV2Config(
        vocab_size=shape.words + 99,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        pooler_hidden_size=shape.width,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="single_label_classification",
    )
    torch.manual_seed(SEED)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder, shape.words)
    return folder
