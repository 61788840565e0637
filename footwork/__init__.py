"""What the three applications share; it imports none of them."""
