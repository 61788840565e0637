"""Tables of texts, read with row numbers and written whole."""
