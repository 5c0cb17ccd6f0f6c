"""The pictures of a report, drawn with Altair."""
