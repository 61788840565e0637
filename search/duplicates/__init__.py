"""Images that are there more than once: which they are, and which to keep."""
