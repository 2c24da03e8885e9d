"""Which task a checkpoint is for, and which command-line options belong to it."""

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig

from ..auto import task_of


def read_config(model: str) -> PreTrainedConfig:
    """Read the configuration of a checkpoint.

    Raises:
        FileNotFoundError: when a folder holds none.
        OSError, ValueError: when there is no such checkpoint, or transformers does not know its kind.
    """
    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        raise FileNotFoundError(f"{model} holds no config.json; give the output folder of a finished run, or a Hub id")
    return AutoConfig.from_pretrained(model)


def runnable_task(model: str, tasks: Collection[str]) -> str:
    """Find which of a script's tasks a checkpoint is for.

    Args:
        model: folder or Hub id.
        tasks: those that the script runs.

    Raises:
        FileNotFoundError, OSError: as `read_config`.
        ValueError: when it is no method of this package or has a task that the script does not run.
    """
    config = read_config(model)
    try:
        task = task_of(config)
    except ValueError as error:
        raise ValueError(f"{model} is no checkpoint of this package: {error}") from error
    if task not in tasks:
        raise ValueError(f"{model} is for {task}, but this script runs: {', '.join(tasks)}")
    return task


def refuse_options_of_other_tasks(
    arguments: argparse.Namespace, task: str, tasks_of_option: Mapping[str, Collection[str]]
) -> None:
    """Refuse options that were given but would have no effect on the task.

    Args:
        arguments: the command line; options that were not given are None or False.
        task: of the checkpoint `arguments.model`.
        tasks_of_option: for each option that not every task takes, the tasks that do.

    Raises:
        ValueError: when there is one; names its task.
    """
    for option, tasks in tasks_of_option.items():
        if task not in tasks and getattr(arguments, option) not in (None, False):
            raise ValueError(
                f"--{option} is for {' and '.join(tasks)}, but {arguments.model} is used for {task}; leave it out"
            )
