"""The package trains a pack, without Ray."""
