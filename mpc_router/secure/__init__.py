"""Prices under secure computation: measured by two parties in a Python of their own."""
