"""Classifiers taught by a few images a class, on embeddings that stay as they are."""
