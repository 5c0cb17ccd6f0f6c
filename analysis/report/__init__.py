"""The report of a run is made here: `mpc-router-report RUN`."""
