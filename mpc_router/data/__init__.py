"""Where examples come from: sources, checked columns, tokens."""
