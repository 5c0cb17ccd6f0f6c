"""The pictures of a report are drawn here with Altair."""
