"""Training the kept weights of pruned blocks, so that their outputs are near those of the dense blocks."""
