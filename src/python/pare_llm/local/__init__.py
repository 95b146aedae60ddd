"""Solves layers in this process, without a host."""
