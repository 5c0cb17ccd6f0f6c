"""Keeps the journal of a run, the state that its events add up to, bulk files and tables."""
