"""What each verb of `python -m sweeps.run` does."""
