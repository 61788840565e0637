"""Vectors and what is known of them, out of an index and into another."""
