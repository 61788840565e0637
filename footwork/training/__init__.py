"""The one training loop and its guards."""
