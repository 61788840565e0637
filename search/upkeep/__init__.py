"""What keeps an index well: its duplicates, its health, its copies."""
