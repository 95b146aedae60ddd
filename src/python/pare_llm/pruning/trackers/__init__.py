"""Programs that track experiments, and the interface by which a run reports to them."""
