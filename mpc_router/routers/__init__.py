"""Routers that are fitted, not trained by steps: path kinds, clusters, predictors, combination."""
