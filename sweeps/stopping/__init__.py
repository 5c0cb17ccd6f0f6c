"""How points are stopped early: rule, ranks, rungs, constraints."""
