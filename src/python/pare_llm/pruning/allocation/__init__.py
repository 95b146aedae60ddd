"""Chooses the sparsity of each layer of a model, as `pare prune --allocate` does."""
