"""Stops points early: rule, ranks, rungs, constraints."""
