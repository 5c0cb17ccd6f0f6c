"""Tells trackers of experiments what a run's journal says: live, or afterwards."""
