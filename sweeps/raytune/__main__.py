"""The program of the process that Ray runs in; `process` starts it.

Its two words are the numbers of open files: of the connection to the process with the journal, and
of the line that ends with that process.
"""

from __future__ import annotations

import sys

from sweeps.raytune._imports import without_garbage_collection

if __name__ == "__main__":
    with without_garbage_collection():
        from sweeps.raytune import tune_loop
    tune_loop.main(*map(int, sys.argv[1:]))
