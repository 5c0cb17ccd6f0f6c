"""Where Ray runs. Imports nothing else of this project."""
