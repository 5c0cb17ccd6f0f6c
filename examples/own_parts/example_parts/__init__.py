"""Brings parts of six kinds to mpc-router, named in `pyproject.toml`."""
