"""A run folder becomes tables and arrays here, and gets other costs."""
