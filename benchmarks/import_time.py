"""What starting costs: help of commands over a bare Python, and `import hf_vidmodels` over PyTorch and transformers.

    python benchmarks/import_time.py [--repeats 5]

Every repeat is a fresh process; base and start take turns in one run, and the difference of the medians of their
processor time counts, which other work on the machine disturbs least. Exit status 1 where one is above its limit.
"""

import argparse
import os
import statistics
import subprocess
import sys

BARE, LIBRARIES = ["-c", "pass"], ["-c", "import torch, transformers"]
# What is started, what it is compared with, and by how many seconds it may be slower.
STARTS = {
    "hf-vidmodels --help": (["-m", "hf_vidmodels", "--help"], BARE, 0.3),
    "hf-vidmodels train --help": (["-m", "hf_vidmodels", "train", "--help"], BARE, 2.0),
    "import hf_vidmodels": (["-c", "import torch, transformers, hf_vidmodels"], LIBRARIES, 0.3),
}


def seconds_of(words: list[str]) -> float:
    before = os.times()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    missed = False
    for name, (words, base, limit) in STARTS.items():
        times = [(seconds_of(base), seconds_of(words)) for _ in range(repeats)]
        base_median, median = (statistics.median(column) for column in zip(*times, strict=True))
        more = median - base_median
        missed |= more > limit
        print(f"{name:26} {median:.2f} s, {more:+.2f} s over its base (limit {limit} s, median of {repeats})")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
