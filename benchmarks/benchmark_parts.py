"""Run several benchmark scripts of this folder in turn and say which of them missed their targets."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def run_parts(names: Iterable[str]) -> None:
    """Run scripts by file name; end the process with status 1 when one of them does not end with 0."""
    failed = []
    for name in names:
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).parent / name)], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"missed: {', '.join(failed)}")
