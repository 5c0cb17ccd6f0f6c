"""Costs of experts: counted, measured, and latency."""
