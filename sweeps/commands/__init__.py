"""The package holds what each verb of `python -m sweeps.run` does."""
