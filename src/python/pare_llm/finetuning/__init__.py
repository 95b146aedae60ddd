"""Fine-tuning that keeps the zeros of a pruned model."""
