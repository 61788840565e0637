"""From words and pictures to what shows them: terms, their vectors, and relevance."""
