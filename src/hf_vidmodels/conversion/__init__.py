"""Official checkpoints to ours, one module per method."""
