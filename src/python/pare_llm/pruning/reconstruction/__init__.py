"""Training the kept weights of pruned blocks, so that their outputs come near to the dense blocks'."""
