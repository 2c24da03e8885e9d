"""What `import hf_vidmodels` costs on top of `from transformers import PreTrainedModel, AutoModel`.

    python benchmarks/import_time.py [--repeats 5]

Every repeat is a fresh process; the median counts. Exit status 1 above half a second.
"""

import argparse
import statistics
import subprocess
import sys

LIMIT_SECONDS = 0.5
PROGRAM = """
import time
from transformers import AutoModel, PreTrainedModel
start = time.perf_counter()
import hf_vidmodels
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    seconds = [
        float(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    median = statistics.median(seconds)
    print(f"import hf_vidmodels: {median:.3f} s (median of {repeats}), limit {LIMIT_SECONDS} s")
    sys.exit(0 if median <= LIMIT_SECONDS else 1)


if __name__ == "__main__":
    main()
