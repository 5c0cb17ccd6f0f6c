"""The sweep orchestrator: studies of many trials, their journal and their tables."""
