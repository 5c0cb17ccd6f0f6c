"""A router behind HTTP: answers in batches, counts against what the router was quoted with."""
