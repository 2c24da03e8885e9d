"""Run the repository's scripts as their commands do: in this process, which saves seconds of imports, or in others."""

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from hf_vidmodels.commands.launching.launcher import included_files

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
TWO_PROCESSES = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"),
    *("--config_file", str(included_files()["cpu_two_processes"])),
]
LAUNCHER_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Done(NamedTuple):
    """How a script ended; an error that the script does not turn into a sentence is raised instead."""

    status: int
    stdout: str
    stderr: str


def environment(**changes: str) -> dict[str, str]:
    """Return the variables of a process that was not started by a launcher, with `changes`."""
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    return kept | {"OMP_NUM_THREADS": "1", **changes}


def run_here(name: str, *words: Any) -> Done:
    """Run a script of scripts/ in this process, on one thread."""
    torch.set_num_threads(1)
    command = [str(SCRIPTS / name), *map(str, words)]
    status, stdout, stderr = 0, io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment(), clear=True),
        patch.object(sys, "argv", command),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        finally:
            for shared in (AcceleratorState, GradientState, PartialState):
                shared._reset_state()
    return Done(status, stdout.getvalue(), stderr.getvalue())


def run_in_two_processes(name: str, *words: Any) -> Done:
    """Run a script of scripts/ in two processes on the CPU, as accelerate's launcher does."""
    ended = subprocess.run(
        [*TWO_PROCESSES, str(SCRIPTS / name), *map(str, words)],
        env=environment(ACCELERATE_USE_CPU="true"),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)
