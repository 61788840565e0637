"""Words as classes: prompts, their embeddings, and none of these."""
