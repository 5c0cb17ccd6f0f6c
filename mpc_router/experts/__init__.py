"""Experts are fine-tuned, cross-fitted and run over the splits here, once for all pools."""
