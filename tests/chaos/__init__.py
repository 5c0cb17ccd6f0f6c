"""Chaos: studies whose processes are killed at seeded random moments, resumed, and then compared.

`python -m tests.chaos` runs rounds and prints a table; `README`'s promise on resuming is what each
round checks.
"""
