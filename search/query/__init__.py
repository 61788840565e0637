"""From words and images to what shows them: terms, their vectors, and relevance."""
