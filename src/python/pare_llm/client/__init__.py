"""The client of a Pare server."""
