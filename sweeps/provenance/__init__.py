"""The package records where numbers come from, and refuses a resume that would mix others in."""
