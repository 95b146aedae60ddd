"""Reading the checkpoints that Pare writes."""
