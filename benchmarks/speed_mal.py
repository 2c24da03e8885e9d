"""All speed measurements of MAL in turn: attention and mean field, labelling of whole files.

    python benchmarks/speed_mal.py

Each part is a script of its own that compares with a reference in the same run; exit status 1 when one misses its
target.
"""

import subprocess
import sys
from pathlib import Path

PARTS = ("speed_mal_network.py", "speed_label_masks.py")


def main() -> None:
    failed = []
    for name in PARTS:
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).parent / name)], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"missed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
