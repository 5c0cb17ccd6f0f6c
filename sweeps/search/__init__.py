"""How points are proposed: the space, the rule, asking Optuna, its view."""
