"""The forward passes that calibrate the layers of a model."""
