"""The tests; several processes of them run side by side."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported: threads of one test would spin while another's have work."""
