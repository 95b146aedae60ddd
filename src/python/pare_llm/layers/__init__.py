"""The linear layers of a model: which there are, their names in checkpoints, and their weights."""
