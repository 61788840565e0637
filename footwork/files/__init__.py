"""Files and folders: written whole or not at all, locked, placed, and never another's."""
