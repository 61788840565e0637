"""Fine-tuning the image tower itself, where examples are many."""
