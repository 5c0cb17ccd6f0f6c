"""The package starts Ray nodes on this machine, and finds and ends their processes.

It imports nothing of this project but what all commands share.
"""
