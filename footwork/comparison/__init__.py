"""Methods compared on one split of labelled rows: which runs, what came of them, the page."""
