"""What several benchmarks share: running others of this folder in turn, and training by a recipe."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


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
    """Train a recipe; `options` are further words of the command line."""
    words = ["--recipe", recipe, "--output_dir", str(output_dir), "--seed", str(seed), "--disable_tqdm", "true"]
    run_script("train.py", [*words, *options])


def run_script(name: str, words: Iterable[str]) -> None:
    """Run one of scripts/ on one thread, so that several can go side by side.

    Raises:
        RuntimeError: it failed; with the command and what it wrote to its error stream.
    """
    command = [sys.executable, str(SCRIPTS / name), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
