"""Benchmarks against what a user would otherwise run; `scripts/bench` starts them."""
