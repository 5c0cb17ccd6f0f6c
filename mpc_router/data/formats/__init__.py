"""Readers of table files by format: Parquet, csv, JSON lines; a split's parts."""
