"""The package shows a run in the terminal, and handles signals."""
