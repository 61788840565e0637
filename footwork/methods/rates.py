"""At what rate and how long each method trains, by kind of input and size of the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a setting becomes when the user leaves it open."""

    learning_rate: float
    """Peak rate of AdamW."""
    num_epochs: float
    """Passes over the training rows."""
    source: str
    """Of the rate, and of the epochs unless they have one of their own."""
    epochs_source: str | None = None


Rates = Sequence[tuple[float, Recipe]]
"""Upper bound of the encoder's size, in parameters without those of tokens → recipe, ascending."""


_MEASURED = "measured on the embedded tiny model"
LORA: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(2e-3, 8, _MEASURED)),
        (60e6, Recipe(8e-4, 6, "AdaLoRA, Zhang et al. 2023, appendix: 5e-4 to 2.2e-3")),
        (150e6, Recipe(5e-4, 5, "LoRA, Hu et al. 2021, appendix: 4e-4 to 5e-4 for RoBERTa-base")),
        (inf, Recipe(2e-4, 4, "LoRA, Hu et al. 2021, appendix: 1e-4 to 4e-4 for large models")),
    ),
    "image": (
        (5e6, Recipe(2e-3, 10, _MEASURED)),
        (inf, Recipe(2e-4, 10, "CLIP-LoRA, Zanella & Ben Ayed 2024: 2e-4")),
    ),
}
FULL: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(5e-4, 5, _MEASURED)),
        (60e6, Recipe(4.5e-5, 4, "DeBERTa-v3-small and -xsmall model cards")),
        (150e6, Recipe(2e-5, 3, "DeBERTa-v3-base model card; Mosbach et al. 2021")),
        (inf, Recipe(8e-6, 3, "DeBERTaV3, He et al. 2021, appendix: 5e-6 to 1.2e-5 for large")),
    ),
    "image": (
        (5e6, Recipe(2e-4, 10, _MEASURED)),
        (150e6, Recipe(3e-5, 10, "WiSE-FT, Wortsman et al. 2021: 3e-5, 10 epochs for ViT-B CLIP")),
        (inf, Recipe(1e-5, 10, "WiSE-FT, Wortsman et al. 2021: 1e-5 for larger towers")),
    ),
}


def as_other(rates: Mapping[str, Rates], told: str) -> dict[str, Rates]:
    """The rates of another method; `told` has a place for where they come from."""
    return {
        kind: tuple((bound, replace(r, source=told.format(r.source))) for bound, r in by_size)
        for kind, by_size in rates.items()
    }


_MINILM = "measured with MiniLM on 1,000 questions"
_BITFIT = "BitFit, Ben Zaken et al. 2021, appendix: 1e-4 to 1e-3"
BITFIT: dict[str, Rates] = {
    "text": (
        (60e6, Recipe(2e-3, 6, _MINILM)),
        (150e6, Recipe(1e-3, 5, _BITFIT)),
        (inf, Recipe(4e-4, 4, _BITFIT)),
    ),
    "image": ((inf, Recipe(1e-3, 10, _BITFIT)),),
}
ADAPTER: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(2e-3, 8, _MEASURED)),
        (60e6, Recipe(1e-3, 6, _MINILM)),
        (inf, Recipe(3e-4, 5, "the source's own code, for BERT: 3e-4, 5 epochs")),
    ),
    "image": (
        (5e6, Recipe(2e-3, 10, _MEASURED)),
        (inf, Recipe(1e-3, 10, "Convpass, Jie & Deng 2022: 1e-3 for ViT-B")),
    ),
}
_PREFIX_SOURCE = "P-tuning v2, Liu et al. 2022, its code: 5e-3 to 1e-2 for prefixes, a tenth here"
PREFIX: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(2e-3, 15, _MEASURED)),
        (60e6, Recipe(1e-3, 15, _MINILM)),
        (inf, Recipe(5e-4, 15, _PREFIX_SOURCE)),
    ),
    "image": ((5e6, Recipe(2e-3, 10, _MEASURED)), (inf, Recipe(5e-4, 10, _PREFIX_SOURCE))),
}
CONTRASTIVE: dict[str, Rates] = dict.fromkeys(
    ("text", "image"), ((inf, Recipe(2e-5, 1, "SetFit, Tunstall et al. 2022")),)
)
_IA3 = "IA³, Liu et al. 2022: 3e-3"
IA3: dict[str, Rates] = {
    "text": ((60e6, Recipe(5e-3, 6, _MINILM)), (inf, Recipe(3e-3, 5, _IA3))),
    "image": ((inf, Recipe(3e-3, 10, _IA3)),),
}
_ADALORA = "AdaLoRA, Zhang et al. 2023, appendix: 5e-4 to 2.2e-3"
ADALORA: dict[str, Rates] = {
    "text": (
        (60e6, Recipe(2e-3, 8, _ADALORA)),
        (150e6, Recipe(1e-3, 6, _ADALORA)),
        (inf, Recipe(5e-4, 5, _ADALORA)),
    ),
    "image": ((inf, Recipe(5e-4, 10, _ADALORA)),),
}
PROMPT: dict[str, Rates] = {"text": ((inf, Recipe(1e-2, 10, _MINILM)),)}
P_TUNING: dict[str, Rates] = {"text": ((inf, Recipe(3e-3, 10, _MINILM)),)}
"""Of three seeds on TREC-6 (MiniLM) 0.82, 0.84 and 0.87; at 1e-2 0.80 and 0.89, at 1e-3 0.75 and
0.82."""
SCRATCH: dict[str, Rates] = {
    "text": (
        (5e6, Recipe(5e-4, 30, "as full: measured on the embedded tiny model")),
        (inf, Recipe(1e-4, 30, "BERT, Devlin et al. 2018")),
    ),
    "image": ((inf, Recipe(1e-3, 30, "ViT, Steiner et al. 2021: 1e-3")),),
}


GENTLE, ADAPTERS_GENTLE = 6e-5, 8e-4
"""Rate up to which a head that was solved on the frozen encoder stays near its optimum: while all
weights train, and beside adapters, where it learns at the first of these. With all weights at 5e-4
(TREC, `tiny`) its log loss was 2.0 after an epoch, a random head's 1.2. Beside LoRA accuracy was
0.64 at 2e-3 (`tiny`; with a random head 0.76), and at 8e-4 0.92 (MiniLM; 0.88)."""
# Fewer leave a new head untrained, whatever the rate (Mosbach et al. 2021, section 5). From a
# solved one 30 to 120 did alike (96 questions of TREC, 32 reviews of SST-2, MiniLM), and on photos
# (EfficientNet, `full` at 2e-4) 300 did worse than 120.
MIN_STEPS, SOLVED_STEPS = 300, 120
MAX_EPOCHS = 100


def recipe_for(
    rates: Rates,
    encoder_parameters: int,
    rows: int,
    batch_size: int,
    *,
    rate: float | None = None,
    solved: bool = False,
) -> Recipe:
    """The recipe for a size, in parameters without embeddings; more epochs where rows are few.

    `rate` is the user's own. `solved` says that the head begins so at any rate, and not where that
    is gentle.
    """
    recipe = next(recipe for bound, recipe in rates if encoder_parameters < bound)
    gentle = max(rate or 0.0, recipe.learning_rate) <= GENTLE
    steps = SOLVED_STEPS if solved or gentle else MIN_STEPS
    enough = ceil(steps / ceil(rows / batch_size))
    epochs = min(max(recipe.num_epochs, enough), max(MAX_EPOCHS, recipe.num_epochs))
    if epochs == recipe.num_epochs:
        return recipe
    reason = f"for {steps} steps, in {MAX_EPOCHS} epochs at most"
    return replace(recipe, num_epochs=epochs, epochs_source=reason)
