"""The embedded models, made by `scripts/make_tiny_models`."""
