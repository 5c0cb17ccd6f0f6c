"""The package holds all of Ray: its process, Ray Tune's loop, the pipe to it, and its folders."""
