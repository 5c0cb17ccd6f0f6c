"""What a report answers beside the front, a question a module."""
