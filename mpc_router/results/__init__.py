"""What training leaves: evaluations, records of an epoch, checkpoints, summaries."""
