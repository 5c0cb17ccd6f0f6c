"""A module here answers one question of a report beside the front."""
