"""Pretrain the embedded text encoder: SentencePiece Unigram, then masked-language modelling.

The result is a plain encoder folder, as the Hub ships them, in float16.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from transformers import DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2Tokenizer

from runtime.adaptation import parameter_groups
from runtime.deberta import accelerate_attention

VOCABULARY = 6000
SEQUENCE = 64  # tokens; texts to classify are short, and attention is quadratic
BATCH = 64  # sequences a step
PEAK_RATE = 2e-3
MASKED = 0.2  # share of tokens, a little above BERT's: the run is short (Wettig et al. 2022)
CONFIG = DebertaV2Config(
    vocab_size=VOCABULARY,
    hidden_size=128,
    num_hidden_layers=6,
    num_attention_heads=4,
    intermediate_size=512,
    relative_attention=True,
    position_buckets=64,
    max_relative_positions=-1,
    max_position_embeddings=512,
    norm_rel_ebd="layer_norm",
    share_att_key=True,
    pos_att_type=["p2c", "c2p"],
    position_biased_input=False,
    type_vocab_size=0,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    layer_norm_eps=1e-7,
)


def train_tokenizer(corpus: Path, out: Path) -> DebertaV2Tokenizer:
    """Train a case-folding Unigram model with the special tokens where DeBERTa-v3 has them."""
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=f"{folder}/spm",
            model_type="unigram",
            vocab_size=VOCABULARY,
            character_coverage=0.9998,
            normalization_rule_name="nmt_nfkc_cf",
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece="[PAD]",
            bos_piece="[CLS]",
            eos_piece="[SEP]",
            unk_piece="[UNK]",
            user_defined_symbols=["[MASK]"],
            input_sentence_size=200_000,
            shuffle_input_sentence=True,
            minloglevel=1,
        )
        tokenizer = DebertaV2Tokenizer.from_pretrained(folder, do_lower_case=True)
    tokenizer.save_pretrained(out)
    return tokenizer


def pack(corpus: Path, tokenizer: DebertaV2Tokenizer) -> NDArray[np.uint16]:
    """Token sequences of equal length, shape (N, SEQUENCE), each `[CLS] … [SEP]`."""
    body = SEQUENCE - 2
    stream: list[int] = []
    lines = corpus.read_text(encoding="utf-8").splitlines()
    for start in range(0, len(lines), 4096):
        batch = tokenizer(lines[start : start + 4096], add_special_tokens=False)
        for ids in batch["input_ids"]:
            stream.extend([*ids, tokenizer.sep_token_id])
    usable = len(stream) // body * body
    rows = np.array(stream[:usable], dtype=np.uint16).reshape(-1, body)
    edge = np.ones((len(rows), 1), dtype=np.uint16)
    return np.hstack([edge * tokenizer.cls_token_id, rows, edge * tokenizer.sep_token_id])


def mask_tokens(
    ids: torch.Tensor, mask_id: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide tokens as BERT does: 80 % become the mask, 10 % another token, 10 % stay.

    Returns:
        Inputs (B, T) and which positions are to be predicted (B, T).
    """
    chosen = (torch.rand(ids.shape, generator=generator) < MASKED) & (ids > mask_id)
    fate = torch.rand(ids.shape, generator=generator)
    inputs = ids.masked_fill(chosen & (fate < 0.8), mask_id)
    other = torch.randint(mask_id + 1, VOCABULARY, ids.shape, generator=generator)
    return torch.where(chosen & (fate >= 0.9), other, inputs), chosen


def without_dropout(model: DebertaV2ForMaskedLM) -> DebertaV2ForMaskedLM:
    """Take the dropout out: a short run underfits. The shipped configuration keeps it."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def pretrain(rows: NDArray[np.uint16], mask_id: int, minutes: float) -> DebertaV2ForMaskedLM:
    """Train for so many minutes; the rate is a function of the time spent, so every run decays."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = without_dropout(DebertaV2ForMaskedLM(CONFIG))
    accelerate_attention(model)
    groups = parameter_groups(model, PEAK_RATE, weight_decay=0.01, layer_decay=1.0)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    started, step, smooth = time.monotonic(), 0, 0.0
    model.train()
    while (spent := (time.monotonic() - started) / 60) < minutes:
        done = spent / minutes
        rate = PEAK_RATE * min(1.0, (step + 1) / 400) * (1 - done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        picked = torch.randint(len(rows), (BATCH,), generator=generator).numpy()
        ids = torch.from_numpy(rows[picked].astype(np.int64))
        inputs, chosen = mask_tokens(ids, mask_id, generator)
        with torch.autocast("cpu", torch.bfloat16):
            states = model.deberta(inputs).last_hidden_state[chosen]
            logits = model.cls(states)
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[chosen])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        smooth = loss.item() if step == 0 else 0.99 * smooth + 0.01 * loss.item()
        step += 1
        if step % 100 == 0:
            tokens = step * BATCH * SEQUENCE / (time.monotonic() - started)
            print(
                f"step {step}  {spent:.1f} min  loss {smooth:.3f}  {tokens:.0f} tokens/s",
                file=sys.stderr,
                flush=True,
            )
    return model


def main(corpus: Path, out: Path, minutes: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus, out)
    rows = pack(corpus, tokenizer)
    print(f"{rows.size / 1e6:.1f} million tokens", file=sys.stderr)
    model = pretrain(rows, tokenizer.mask_token_id, minutes)
    encoder = model.deberta.to(torch.float16)
    encoder.save_pretrained(out)
    print(f"{sum(p.numel() for p in encoder.parameters())} parameters", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
