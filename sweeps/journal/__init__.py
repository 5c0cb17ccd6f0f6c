"""The journal of a run, the state it folds to, bulk files, repair and tables."""
