"""The training loop, its objective, optimiser, schedule and checkpoints."""
