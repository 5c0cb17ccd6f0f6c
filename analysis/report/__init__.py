"""The report of a run is made here: `python -m analysis.report RUN`."""
