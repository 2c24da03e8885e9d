"""What several benchmarks share: running others of this folder in turn, and training by a recipe."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "scripts" / "train.py"


def run_parts(names: Iterable[str]) -> None:
    """Run scripts by file name; end the process with status 1 when one of them does not end with 0."""
    failed = []
    for name in names:
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).parent / name)], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"missed: {', '.join(failed)}")


def train_recipe(recipe: str, output_dir: Path, seed: int, options: Iterable[str] = ()) -> None:
    """Train a recipe through scripts/train.py on one thread, so that several runs can go side by side.

    Raises:
        RuntimeError: the run failed; with the command and what it wrote to its error stream.
    """
    command = [sys.executable, str(TRAIN), "--recipe", recipe, "--output_dir", str(output_dir), "--seed", str(seed)]
    command += ["--disable_tqdm", "true", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
