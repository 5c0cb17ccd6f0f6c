"""A run folder as tables and arrays, and under other costs."""
