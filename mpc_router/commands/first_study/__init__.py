"""What `mpc-router-init` asks and writes for a task of one's own."""
