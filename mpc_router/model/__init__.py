"""Encoders, experts, stem, routers, losses, and the gated pool of them."""
