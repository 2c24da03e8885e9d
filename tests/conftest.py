"""One thread for every process of the tests: pytest-xdist brings processes, and threads would wait for each other."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
