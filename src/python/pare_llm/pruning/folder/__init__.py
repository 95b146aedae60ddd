"""Pruning a checkpoint folder with one block in memory at a time."""
