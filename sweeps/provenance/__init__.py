"""Where numbers come from, and whether a resume may go on."""
