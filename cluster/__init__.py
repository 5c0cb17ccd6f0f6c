"""The package starts Ray nodes, here or in a Slurm job, and finds and ends their processes.

It imports nothing of this project but what all commands share.
"""
