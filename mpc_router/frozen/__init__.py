"""Stacks of routers that are trained on cached outputs of frozen experts."""
