"""Points with their intervals, the front of a run, and runs compared."""
