"""One thread for every process of the tests: pytest-xdist brings processes, and threads would wait for each other.

Property tests have no deadline: how long an example takes says more about the machine than about the code.
"""

import os

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("hf_vidmodels", deadline=None)
settings.load_profile("hf_vidmodels")
