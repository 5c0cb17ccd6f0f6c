"""Every setting of one trial, its rules, YAML and `key=value`; pools by name."""
