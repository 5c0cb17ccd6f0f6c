"""Proposes points: the space, the rule, asking Optuna, a view for its tools."""
