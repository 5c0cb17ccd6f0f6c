"""Experts are finetuned, cross-fitted and run over the splits here, once for all pools."""
