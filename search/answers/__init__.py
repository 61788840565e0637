"""What is done with what was found: rows, pages, copies, pictures in a terminal."""
