"""A study: how it is read, its rules, its budget, and the sets it prepares."""
