"""Recipes of experts: what they are prepared from, their keys in the cache, their tokenizers."""
