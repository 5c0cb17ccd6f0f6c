"""One session of a sweep: queue, ledger, supervisor."""
