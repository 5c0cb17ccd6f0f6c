"""Brings a sampler and a metric to mpc-router; `pyproject.toml` names both as entry points."""
