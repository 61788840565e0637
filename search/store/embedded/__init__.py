"""The engine of one machine: SQLite for what is known, a flat file of vectors beside it."""
