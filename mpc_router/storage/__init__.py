"""Files on disk: the cache, whole files, tensors in files, what a path may be."""
