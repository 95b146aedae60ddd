"""Calibration statistics, recorded while a PyTorch model runs."""
