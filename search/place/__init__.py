"""Where an index is: in a folder, or on a server."""
