"""Statistics of arrays: this room resamples, ranks, measures fronts and chooses points."""
