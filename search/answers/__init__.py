"""What is done with what was found: rows, pages, copies, images in a terminal."""
