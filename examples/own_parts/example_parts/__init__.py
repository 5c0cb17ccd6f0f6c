"""Brings parts of five kinds to mpc-router, named in `pyproject.toml`."""
