"""A router in use: texts go in, answers with their experts and costs come out."""
