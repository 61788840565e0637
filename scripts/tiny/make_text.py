"""Pretrain the embedded text encoder: SentencePiece Unigram, then masked-language modelling.

The prose is documentation and, in every fourth step, written reviews. Of these the first token
also learns to say whether they praise or blame, as BERT's first token learns whether two sentences
belong together: what documentation never says, masked words alone did not teach either. The result
is a plain encoder folder, as the Hub ships them, in float16.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from transformers import DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2Tokenizer

from footwork.arrays import IntArray
from footwork.methods.adaptation import parameter_groups
from footwork.models.deberta import accelerate_attention
from scripts.tiny.opinions import Review, write_reviews

VOCABULARY = 6000
SEQUENCE = 64  # tokens; texts to classify are short, and attention is quadratic
BATCH = 64  # sequences a step
PEAK_RATE = 2e-3
REVIEWS = 100_000
REVIEWS_EVERY = 4  # steps
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


def train_tokenizer(corpus: Path, reviews: list[Review], out: Path) -> DebertaV2Tokenizer:
    """Train a case-folding Unigram model with the special tokens where DeBERTa-v3 has them."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "reviews.txt")
        written.write_text("\n".join(review.text for review in reviews), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=[str(corpus), str(written)],
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


@dataclass(frozen=True, slots=True)
class Rated:
    """Reviews as tokens (N lists), and whether each praises (N)."""

    ids: list[list[int]]
    praises: torch.Tensor

    def batch(self, picked: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of some reviews (B, T), padded, and whether they praise (B)."""
        rows = [torch.tensor(self.ids[row]) for row in picked]
        padded = torch.nn.utils.rnn.pad_sequence(
            rows, batch_first=True, padding_value=CONFIG.pad_token_id
        )
        return padded, self.praises[torch.from_numpy(picked)]


def rated(reviews: list[Review], tokenizer: DebertaV2Tokenizer) -> Rated:
    texts = [review.text for review in reviews]
    ids = tokenizer(texts, truncation=True, max_length=SEQUENCE)["input_ids"]
    return Rated(ids, torch.tensor([review.praises for review in reviews]))


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


class Objective:
    """The loss of a step, with the generator that masks and draws."""

    def __init__(self, model: DebertaV2ForMaskedLM, mask_id: int) -> None:
        self.model = model
        self.praise = torch.nn.Linear(CONFIG.hidden_size, 1)
        self.mask_id = mask_id
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, count: int) -> IntArray:
        """The rows of a batch, of so many."""
        return torch.randint(count, (BATCH,), generator=self.generator).numpy()

    def masked(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the hidden tokens of `ids` (B, T), and the states of the first token (B, D)."""
        inputs, chosen = mask_tokens(ids, self.mask_id, self.generator)
        seen = ids != CONFIG.pad_token_id
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model.deberta(
                inputs, attention_mask=None if seen.all() else seen.long()
            ).last_hidden_state
            logits = self.model.cls(states[chosen])
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[chosen])
        return loss, states[:, 0].float()

    def praising(self, ids: torch.Tensor, praises: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Loss of hidden tokens and of praise or blame, and the share that was told rightly."""
        loss, first = self.masked(ids)
        logits = self.praise(first)[:, 0]
        told = ((logits > 0) == praises).float().mean().item()
        verdict = torch.nn.functional.binary_cross_entropy_with_logits(logits, praises.float())
        return loss + verdict, told


def pretrain(
    rows: NDArray[np.uint16], reviews: Rated, mask_id: int, minutes: float
) -> DebertaV2ForMaskedLM:
    """Train for so many minutes; the rate is a function of the time spent, so every run decays."""
    torch.manual_seed(0)
    model = without_dropout(DebertaV2ForMaskedLM(CONFIG))
    accelerate_attention(model)
    objective = Objective(model, mask_id)
    groups = parameter_groups(model, PEAK_RATE, weight_decay=0.01, layer_decay=1.0)
    groups.append({"params": list(objective.praise.parameters())})
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
    started, step, smooth, told = time.monotonic(), 0, 0.0, 0.5
    model.train()
    while (spent := (time.monotonic() - started) / 60) < minutes:
        rate = PEAK_RATE * min(1.0, (step + 1) / 400) * (1 - spent / minutes)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if step % REVIEWS_EVERY == REVIEWS_EVERY - 1:
            loss, right = objective.praising(*reviews.batch(objective.draw(len(reviews.ids))))
            told = 0.98 * told + 0.02 * right
        else:
            picked = rows[objective.draw(len(rows))].astype(np.int64)
            loss, _ = objective.masked(torch.from_numpy(picked))
            smooth = loss.item() if step == 0 else 0.99 * smooth + 0.01 * loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 100 == 0:
            print(
                f"step {step}  {spent:.1f} min  loss {smooth:.3f}  praise or blame {told:.3f}",
                file=sys.stderr,
                flush=True,
            )
    return model


def main(corpus: Path, out: Path, minutes: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    reviews = list(write_reviews(REVIEWS))
    tokenizer = train_tokenizer(corpus, reviews, out)
    rows = pack(corpus, tokenizer)
    print(f"{rows.size / 1e6:.1f} million tokens", file=sys.stderr)
    model = pretrain(rows, rated(reviews, tokenizer), tokenizer.mask_token_id, minutes)
    encoder = model.deberta.to(torch.float16)
    encoder.save_pretrained(out)
    print(f"{sum(p.numel() for p in encoder.parameters())} parameters", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
