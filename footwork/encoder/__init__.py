"""Images and texts as unit vectors of one space: CLIP and its family."""
