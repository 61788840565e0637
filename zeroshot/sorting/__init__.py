"""Files in folders by their label: planned first, then done, and undone if it was not wanted."""
