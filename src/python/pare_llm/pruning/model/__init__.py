"""The blocks and layers of a model, and access to their weights."""
