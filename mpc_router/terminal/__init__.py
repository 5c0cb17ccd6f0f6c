"""What commands share: flags, completion, streams, progress, the console."""
