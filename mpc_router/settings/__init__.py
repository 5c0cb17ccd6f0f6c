"""What a setting may be, wherever it stands: rules, allowed values, their sentences, YAML."""
