"""Runs one session of a sweep: queue, ledger, supervisor."""
