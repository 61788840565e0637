"""From a table to labelled texts in splits."""
