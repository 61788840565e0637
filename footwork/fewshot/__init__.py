"""Classifiers from a few examples a class, on embeddings that stay as they are."""
