"""Pictures, found in folders and decoded ahead of a model."""
