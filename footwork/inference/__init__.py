"""A sequence model over rows of any length."""
