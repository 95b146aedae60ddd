"""Tests of the client of a Pare server."""
