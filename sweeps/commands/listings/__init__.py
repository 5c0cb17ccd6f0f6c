"""What `mpc-router-runs` lists: runs, their states, their files, the cache."""
