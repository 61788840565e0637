"""Learning rate and length of training, by method and size of the model, each with its source."""

from __future__ import annotations

import math
from dataclasses import replace

from runtime.training.recipe import Recipe

MILLION = 1_000_000

# Upper bound of the encoder's size in parameters without embeddings → recipe.
RATES: dict[str, list[tuple[float, Recipe]]] = {
    "full": [
        (5 * MILLION, Recipe(5e-4, 5, "measured on the embedded tiny model")),
        (60 * MILLION, Recipe(4.5e-5, 4, "DeBERTa-v3-small and -xsmall model cards")),
        (150 * MILLION, Recipe(2e-5, 3, "DeBERTa-v3-base model card; Mosbach et al. 2021")),
        (
            math.inf,
            Recipe(8e-6, 3, "DeBERTaV3, He et al. 2021, appendix: 5e-6 to 1.2e-5 for large"),
        ),
    ],
    "lora": [
        (5 * MILLION, Recipe(2e-3, 8, "measured on the embedded tiny model")),
        (60 * MILLION, Recipe(8e-4, 6, "AdaLoRA, Zhang et al. 2023, appendix: 5e-4 to 2.2e-3")),
        (
            150 * MILLION,
            Recipe(5e-4, 5, "LoRA, Hu et al. 2021, appendix: 4e-4 to 5e-4 for RoBERTa-base"),
        ),
        (
            math.inf,
            Recipe(2e-4, 4, "LoRA, Hu et al. 2021, appendix: 1e-4 to 4e-4 for large models"),
        ),
    ],
    "head": [(math.inf, Recipe(1e-3, 30, "the default of Adam, Kingma & Ba 2015"))],
}
RATES["gradual"] = [
    (bound, replace(recipe, source=f"as full: {recipe.source}; ULMFiT, Howard & Ruder 2018"))
    for bound, recipe in RATES["full"]
]
