"""What is told of a finished training."""
