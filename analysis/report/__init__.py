"""The report of a run: `python -m analysis.report RUN`."""
