"""What routing is worth: over yardsticks, by share of an expert, by kind of router."""
