"""Models by their names: the Hub, local folders, and what is built on them."""
