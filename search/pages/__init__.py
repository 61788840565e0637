"""Pages for the eye: answers and duplicates, each a file that needs nothing but itself."""
