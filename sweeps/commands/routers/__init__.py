"""The commands about single routers, which take them out of runs as well as checkpoints."""
