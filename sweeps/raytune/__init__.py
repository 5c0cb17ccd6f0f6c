"""All of Ray: its process, the loop of Ray Tune, the pipe to it, and its folders."""
