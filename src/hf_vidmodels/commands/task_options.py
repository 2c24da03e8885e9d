"""Which task a checkpoint is for, and the command-line options that belong to it: `tasks.TASKS` read for commands."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tasks import TASKS, Option, Task

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def read_config(model: str, **options: Any) -> "PreTrainedConfig":
    """Read the configuration of a checkpoint.

    Args:
        model: folder or Hub id.
        options: of `from_pretrained`.

    Raises:
        FileNotFoundError: when there is no such folder and no such checkpoint on the Hub, or a folder holds none.
        OSError, ValueError: when the configuration cannot be read, or transformers does not know its kind.
    """
    from huggingface_hub.errors import HFValidationError
    from transformers import AutoConfig

    way_out = "give the output folder of a finished run, or a Hub id"
    if Path(model).is_file():
        raise FileNotFoundError(f"{model} is a file; {way_out}")
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise FileNotFoundError(f"{model} holds no config.json; {way_out}")
        return AutoConfig.from_pretrained(model, **options)
    try:
        return AutoConfig.from_pretrained(model, **options)
    except (OSError, HFValidationError) as error:
        # That the Hub cannot be reached says nothing of the folder whose name was mistyped.
        reason = str(error).partition("\n")[0]
        raise FileNotFoundError(f"{model} is no folder here, nor opened from the Hub ({reason}); {way_out}") from error


def task_of_checkpoint(model: str, work: str) -> Task:
    """Find the task of a checkpoint.

    Args:
        model: folder or Hub id.
        work: what a command does, `"evaluate"` or `"predict"`, a field of `Task`.

    Raises:
        FileNotFoundError, OSError: as `read_config`.
        ValueError: when it is no model of this package or of its tasks, or of one that the command does not do.
    """
    from ..auto import task_of

    config = read_config(model)
    try:
        task = TASKS[task_of(config)]
    except ValueError as error:
        raise ValueError(f"{model} is no checkpoint of this package: {error}") from error
    if getattr(task, work) is None:
        able = ", ".join(name for name, row in TASKS.items() if getattr(row, work) is not None)
        raise ValueError(f"{model} is for {task.name}, but this command runs: {able}")
    return task


def add_task_options(parser: argparse.ArgumentParser, work: str) -> None:
    """Add the options that not every task takes; their help names the tasks that do.

    Args:
        parser: of the command.
        work: as for `task_of_checkpoint`.
    """
    for option, tasks in _options_of(work):
        parser.add_argument(f"--{option.name}", help=f"{option.help} [{', '.join(tasks)}]", **option.settings)


def refuse_options_of_other_tasks(arguments: argparse.Namespace, task: Task, work: str) -> None:
    """Refuse options that were given but would have no effect on the task.

    Args:
        arguments: the command line; options that were not given are None or False.
        task: of the checkpoint `arguments.model`.
        work: as for `task_of_checkpoint`.

    Raises:
        ValueError: when there is one; names its tasks.
    """
    for option, tasks in _options_of(work):
        if task.name not in tasks and getattr(arguments, option.name) not in (None, False):
            raise ValueError(
                f"--{option.name} is for {' and '.join(tasks)}, but {arguments.model} is used for {task.name}; leave "
                "it out"
            )


def named_inputs(arguments: argparse.Namespace, work: str) -> list[Path | None]:
    """Give the files and folders that the options of tasks name, None for those not given.

    Args:
        arguments: the command line.
        work: as for `task_of_checkpoint`.
    """
    return [getattr(arguments, option.name) for option, _ in _options_of(work) if option.settings.get("type") is Path]


def _options_of(work: str) -> list[tuple[Option, list[str]]]:
    """Give each option of a command with the names of the tasks that take it."""
    found: dict[str, tuple[Option, list[str]]] = {}
    for task in TASKS.values():
        for option in getattr(task, f"{work}_options"):
            found.setdefault(option.name, (option, []))[1].append(task.name)
    return list(found.values())
