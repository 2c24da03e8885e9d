"""Start Accelerate as the arguments and the launcher say, and notice when the launcher did something else."""

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, DistributedType, InitProcessGroupKwargs, ProjectConfiguration

from .arguments import TrainingArguments

TRACKER_FOLDER = "runs"
WAIT_FOR_MAIN_PROCESS = timedelta(days=1)


def start_accelerator(args: TrainingArguments, averages: bool) -> Accelerator:
    """Return the accelerator of this process.

    Args:
        args: the arguments of the run.
        averages: whether any stage averages its weights.

    Raises:
        ValueError: when the number of processes is not what the launcher was asked for, a tracker is not installed,
            or the arguments ask for what the hardware or the kind of parallelism cannot do.
    """
    missing = [tracker for tracker in args.report_to if find_spec(tracker) is None]
    if missing:
        raise ValueError(f"report_to {missing[0]}: the tracker is not installed; pip install {missing[0]}.")
    if args.full_determinism:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        # The schedule counts optimiser steps; Accelerate's own count would advance once per process.
        step_scheduler_with_optimizer=False,
        log_with=args.report_to or None,
        project_config=ProjectConfiguration(
            project_dir=args.output_dir, logging_dir=str(Path(args.output_dir) / TRACKER_FOLDER)
        ),
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
        # The others wait while the main process prepares data or uploads, which may take longer than the usual limit.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=WAIT_FOR_MAIN_PROCESS)],
    )
    check_processes(accelerator.num_processes)
    if averages and accelerator.distributed_type not in (
        DistributedType.NO,
        DistributedType.MULTI_CPU,
        DistributedType.MULTI_GPU,
    ):
        raise ValueError(
            f"ema_decay averages whole weights and does not work with {accelerator.distributed_type.value}."
        )
    return accelerator


def check_processes(num_processes: int) -> None:
    """Raise ValueError when the launcher was asked for more processes than Accelerate runs together.

    Two launches go wrong without a word: `--cpu --num_processes 2` runs one process, and `--multi_gpu` on a machine
    without GPU runs processes that know nothing of each other and write over each other's files.
    """
    way_out = (
        "For several processes on a CPU use: hf-vidmodels train --num_processes 2 ..., or ACCELERATE_USE_CPU=true "
        "accelerate launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no "
        "scripts/train.py ..."
    )
    world_size = os.environ.get("WORLD_SIZE")
    if world_size is not None and int(world_size) != num_processes:
        raise ValueError(
            f"The launcher started {world_size} processes, but Accelerate joins {num_processes}. {way_out}"
        )
    # Accelerate's launcher sets the address for several processes, and the size only where it starts them itself.
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and world_size is None and "MASTER_ADDR" in os.environ and num_processes == 1:
        raise ValueError(
            f"accelerate launch was asked for several processes, but started one. {way_out} If one process is what "
            "you want, unset MASTER_ADDR."
        )


def start_trackers(accelerator: Accelerator, args: TrainingArguments) -> None:
    """Open the run in all trackers, with those arguments that are numbers or text."""
    if not args.report_to:
        return
    name = args.run_name or Path(args.output_dir).resolve().name
    config = {key: value for key, value in vars(args).items() if isinstance(value, int | float | str)}
    wandb = {"wandb": {"name": name, "dir": args.output_dir}} if "wandb" in args.report_to else {}
    accelerator.init_trackers(name, config=config, init_kwargs=wandb)
