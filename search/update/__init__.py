"""An index follows the disk: what changed, and how it gets there."""
