"""Stem, router and experts that train together."""
