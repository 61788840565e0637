"""Training in less memory: frozen matrices in their dtype, only the vocabulary in use.

Autocast casts every weight at every step and keeps the copy until the backward pass. A weight that
does not train can be cast once: the same numbers, half the memory, and no cast in any step.

A row that no text uses gets no gradient, so leaving it out saves time and memory and changes no
answer to these texts: the embedding is 98 of the 184 million parameters of DeBERTa-v3-base, and
AdamW keeps two moments for each and moves them all at every step. Of such a row it would only take
weight decay, rate times decay of its length a step; left out, it stays as it was pretrained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from footwork.methods.adaptation import adaptation_of
from footwork.models.checkpoints import token_table


@contextmanager
def frozen_weights_in(model: nn.Module, dtype: torch.dtype) -> Iterator[int]:
    """Within the block frozen weights of linear layers are in autocast's dtype; yields how many.

    Enter before the model moves to an accelerator: the originals stay where they are.
    """
    originals: dict[nn.Linear, torch.Tensor] = {}
    if dtype is not torch.float32:
        exact = adaptation_of(model).kept_exact(model)
        originals = {
            module: module.weight
            for module in model.modules()
            if type(module) is nn.Linear and not module.weight.requires_grad and module not in exact
        }
    for module, weight in originals.items():
        module.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    try:
        yield len(originals)
    finally:
        for module, weight in originals.items():
            module.weight = weight


class PrunedEmbedding(nn.Module):
    """The rows `kept`, (K,), of an embedding (V, D), addressed by the ids of the whole vocabulary.

    They are those that occur, ascending, the padding's among them.
    """

    def __init__(self, embedding: nn.Embedding, kept: torch.Tensor) -> None:
        super().__init__()
        trains = embedding.weight.requires_grad
        self.weight = nn.Parameter(embedding.weight.detach()[kept], requires_grad=trains)
        compact = torch.full((embedding.num_embeddings,), -1, device=kept.device)
        compact[kept] = torch.arange(len(kept), device=kept.device)
        self.compact: torch.Tensor
        self.register_buffer("compact", compact, persistent=False)
        pad = embedding.padding_idx
        self.padding_row = None if pad is None else int(compact[pad])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embed ids of the whole vocabulary; one that was not kept raises IndexError."""
        return functional.embedding(self.compact[ids], self.weight, self.padding_row)


@contextmanager
def pruned_vocabulary(model: Any, used: torch.Tensor) -> Iterator[int]:
    """Within the block `model` has the embeddings of `used` alone; afterwards all, trained.

    `used`, (K,), are ids that occur in any text that the model will see. An embedding of an unusual
    kind is left as it is. Enter before the model moves to an accelerator: the whole embedding stays
    where it is. Yields how many rows were left out.
    """
    embedding = token_table(model)
    if type(embedding) is not nn.Embedding:
        yield 0
        return
    special = [] if embedding.padding_idx is None else [embedding.padding_idx]
    kept = torch.unique(torch.cat([used, torch.tensor(special, dtype=used.dtype)]))
    pruned = PrunedEmbedding(embedding, kept)
    model.set_input_embeddings(pruned)
    try:
        yield embedding.num_embeddings - len(kept)
    finally:
        if embedding.weight.requires_grad:
            with torch.no_grad():
                embedding.weight[kept] = pruned.weight.to(embedding.weight)
        model.set_input_embeddings(embedding)
