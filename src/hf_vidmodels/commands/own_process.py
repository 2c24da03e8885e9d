"""The process that a command runs in: alone, or one of several that accelerate's launcher started."""

import torch
from accelerate import Accelerator

from ..training.launch import check_processes
from .opened_models import existing_device


def join_processes(device: str | None) -> tuple[Accelerator, torch.device]:
    """Join the other processes of the launch, if any, and give the accelerator and the device to compute on.

    Args:
        device: what `--device` says; None for the process's own.

    Raises:
        ValueError: there is no such device, several processes would share it, or the launcher started another number
            of processes than it was asked for.
    """
    accelerator = Accelerator()
    check_processes(accelerator.num_processes)
    if device is None:
        return accelerator, accelerator.device
    if accelerator.num_processes > 1:
        raise ValueError(
            f"--device {device} would be that of all {accelerator.num_processes} processes; leave it out, each has "
            "its own"
        )
    return accelerator, existing_device(device)
