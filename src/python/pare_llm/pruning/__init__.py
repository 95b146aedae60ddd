"""Pruning a whole PyTorch model in place."""
