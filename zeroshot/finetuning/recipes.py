"""Learning rate and length of training, by method and size of the tower, each with its source."""

from __future__ import annotations

import math
from dataclasses import replace

from footwork.options import Recipe

MILLION = 1_000_000

# Upper bound of the encoder's size in parameters → recipe.
RATES: dict[str, list[tuple[float, Recipe]]] = {
    "full": [
        (5 * MILLION, Recipe(2e-4, 10, "measured on the embedded tiny model")),
        (
            150 * MILLION,
            Recipe(3e-5, 10, "WiSE-FT, Wortsman et al. 2021: 3e-5, 10 epochs for ViT-B CLIP"),
        ),
        (math.inf, Recipe(1e-5, 10, "WiSE-FT, Wortsman et al. 2021: 1e-5 for larger towers")),
    ],
    "lora": [
        (5 * MILLION, Recipe(2e-3, 10, "measured on the embedded tiny model")),
        (math.inf, Recipe(2e-4, 10, "CLIP-LoRA, Zanella & Ben Ayed 2024: 2e-4")),
    ],
    "head": [(math.inf, Recipe(1e-3, 30, "the default of Adam, Kingma & Ba 2015"))],
}
RATES["gradual"] = [
    (bound, replace(recipe, source=f"as full: {recipe.source}; ULMFiT, Howard & Ruder 2018"))
    for bound, recipe in RATES["full"]
]
