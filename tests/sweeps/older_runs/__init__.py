"""A recorded run for each version of the tables, and what this program makes of it."""
