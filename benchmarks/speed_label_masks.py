"""Masks per second of `label_masks.py`, and its peak memory with few and with many pictures.

Embedded pictures and a small MAL with random weights, one process on one thread, each run in a process of its own,
whose peak memory the operating system tells:
    python benchmarks/speed_label_masks.py
    python benchmarks/speed_label_masks.py --pictures 100 500 2000 --output speed.json
The command fails when the peak grows by more than 30 MB from the first to the last number of pictures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from label_restart import command, environment, make_input

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run

MOST_GROWTH_MB = 30


def main() -> None:
    """Read the command line, measure and print a table."""
    arguments = parse_arguments()
    rows = [measure(count) for count in arguments.pictures]
    print(f"{'pictures':>8} {'masks':>6} {'masks/s':>8} {'peak memory':>12}")
    for row in rows:
        print(f"{row['pictures']:8} {row['masks']:6} {row['masks_per_second']:8.1f} {row['peak_mb']:9.1f} MB")
    growth = rows[-1]["peak_mb"] - rows[0]["peak_mb"]
    print(f"growth of the peak: {growth:.1f} MB")
    if arguments.output:
        write_json(arguments.output, {"rows": rows})
    if growth > MOST_GROWTH_MB:
        sys.exit(f"the peak memory grows with the number of pictures: {growth:.1f} MB")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[100, 500], help="numbers of pictures")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser.parse_args()


def measure(num_pictures: int) -> dict[str, Any]:
    """Label so many pictures.

    Raises:
        ValueError: the run failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        words = command(make_input(folder, num_pictures), folder / "masks.json", 1)
        with (folder / "stdout").open("w+") as printed:
            process = subprocess.Popen(words, env=environment(), stdout=printed)
            _, status, usage = os.wait4(process.pid, 0)
            printed.seek(0)
            lines = printed.read().splitlines()
        if status:
            raise ValueError(f"the labelling run of {num_pictures} pictures failed")
        report = json.loads((folder / "masks.report.json").read_text())
    speed = next(float(line.split()[1]) for line in lines if line.startswith("speed"))
    return {
        "pictures": num_pictures,
        "masks": report["labelled"],
        "masks_per_second": speed,
        "peak_mb": usage.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    run(main)
