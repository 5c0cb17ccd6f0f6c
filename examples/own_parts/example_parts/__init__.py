"""Brings a sampler, a metric and a cost vector to mpc-router, named in `pyproject.toml`."""
