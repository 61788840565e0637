"""What keeps an index well: its duplicates, its health, what it holds."""
