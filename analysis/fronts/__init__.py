"""Points with their intervals become the front of a run here, and runs are compared."""
