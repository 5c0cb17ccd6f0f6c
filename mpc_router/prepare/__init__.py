"""What is done once a pool and cached: experts, their outputs, a trial's inputs."""
