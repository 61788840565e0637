"""From labelled rows to a published, proven folder."""
