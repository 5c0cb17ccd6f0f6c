"""Reads and checks a study: its rules, its budget, and the sets that it prepares."""
