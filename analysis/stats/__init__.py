"""Statistics of arrays: resampling, dominance, indicators, choice."""
