"""A command in several processes: `hf-vidmodels train --num_processes 2 ...` hands over to Accelerate's launcher.

The rule: the options of `LAUNCHER_OPTIONS` are the launcher's, wherever they stand, and one of them is enough to start
it; every other word is the command's own. `--mixed_precision` is an option of commands.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

LAUNCHER_OPTIONS = {
    "num_processes": "processes that share the work",
    "config_file": "YAML file of `accelerate config`, or the name of one that comes with the package: {names}",
    "gpu_ids": "GPUs to use, such as 0,1 (default: all)",
    "num_machines": "machines that share the work (default: 1)",
    "machine_rank": "which of them this one is, from 0",
    "main_process_ip": "address of machine 0",
    "main_process_port": "its port (default on one machine: any free one)",
}
WHOLE_NUMBERS = ("num_processes", "num_machines", "machine_rank", "main_process_port")


def included_files() -> dict[str, Path]:
    """Give the launcher files that come with the package, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def describe_launcher_options() -> str:
    """Give one line for each option of the launcher, for help texts."""
    names = ", ".join(included_files())
    return "\n".join(f"  --{name:20}{meaning.format(names=names)}" for name, meaning in LAUNCHER_OPTIONS.items())


def split_off_launcher_options(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split a command line into the launcher's options, by name, and the words of the command.

    Raises:
        ValueError: for an option of the launcher without a value, or with one that does not fit.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in LAUNCHER_OPTIONS:
        parser.add_argument(f"--{name}", type=int if name in WHOLE_NUMBERS else str)
    try:
        found, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"the command line does not fit: {error}") from error
    if found.num_processes is not None and found.num_processes < 1:
        raise ValueError(f"--num_processes must be at least 1, got {found.num_processes}")
    return {name: str(value) for name, value in vars(found).items() if value is not None}, rest


def launch(command: str, options: dict[str, str], words: Sequence[str]) -> None:
    """Run a command of the package in the processes that the launcher's options ask for.

    Without a GPU the processes are joined on the CPU. When one of them fails, what it printed stands alone: this
    process ends with its status and without a traceback of its own.

    Args:
        command: name of the command.
        options: of the launcher, as `split_off_launcher_options` gives them.
        words: the command's own command line.

    Raises:
        FileNotFoundError: when there is no such launcher file.
    """
    # Imported here: these load PyTorch, and the options above are looked at by every command.
    import torch
    from accelerate.commands.config.config_args import default_config_file
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options, on_cpu = dict(options), not torch.accelerator.is_available()
    flags = []
    if "config_file" in options:
        path = find_launcher_file(options["config_file"])
        options["config_file"] = str(path)
        on_cpu |= bool((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("use_cpu"))
    elif not Path(default_config_file).is_file():
        # What Accelerate would otherwise warn that it was not told.
        options = {
            "num_processes": "1",
            "num_machines": "1",
            "mixed_precision": "no",
            "dynamo_backend": "no",
        } | options
        flags = ["--multi_gpu"] * (options["num_processes"] != "1")
    if options.get("num_machines", "1") == "1":
        options.setdefault("main_process_port", "0")
    if on_cpu:
        # Accelerate joins processes on a CPU only when this is set before it starts.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    arguments = launch_command_parser().parse_args([*given, *flags, "--module", "hf_vidmodels", command, *words])
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        launch_command(arguments)
    except ChildFailedError as error:
        sys.exit(max(failure.exitcode for failure in error.failures.values()))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except (SignalException, KeyboardInterrupt) as stop:
        sys.exit(128 + getattr(stop, "sigval", signal.SIGINT))


def find_launcher_file(name: str) -> Path:
    """Find a launcher file by its path, or by its name one that comes with the package.

    Raises:
        FileNotFoundError: when there is neither.
    """
    included = included_files()
    if name in included:
        return included[name]
    if Path(name).is_file():
        return Path(name)
    raise FileNotFoundError(f"there is no launcher file {name}; give a YAML file or one of {', '.join(included)}")
