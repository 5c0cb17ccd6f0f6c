"""Trains a pack, without Ray."""
