"""Programs that the Python with `spu` runs; of this project they import each other alone."""
