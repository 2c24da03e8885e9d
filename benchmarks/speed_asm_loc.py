"""All speed measurements of ASM-Loc in turn: mAP evaluator, post-processing, `localize`.

    python benchmarks/speed_asm_loc.py

Each part is a script of its own that compares with a reference in the same run; exit status 1 when one misses its
target.
"""

import subprocess
import sys
from pathlib import Path

PARTS = ("speed_temporal_map.py", "speed_post_processing.py", "speed_localize.py")


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
