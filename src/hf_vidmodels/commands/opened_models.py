"""The one place where commands open checkpoints: whole, on a device that exists, or not at all."""

import pickle
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModel, PreTrainedModel

from ..modeling.modeling_base import lacking_weights, refuse_random_weights


def open_model(
    name: str, device: torch.device | str | None = None, auto_class: Any = AutoModel, **options: Any
) -> PreTrainedModel:
    """Open a checkpoint that is to answer.

    Args:
        name: folder or Hub id.
        device: where the model goes; by default it stays on the CPU.
        auto_class: the Auto class that opens it.
        options: of `from_pretrained`.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: weights are missing, of another shape or damaged, or there is no such device.
        OSError: there is no such checkpoint.
    """
    place = None if device is None else existing_device(device)
    try:
        model, info = auto_class.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"the weights of {name} are damaged ({error}); copy them again") from error
    # A model of this package knows more: what follows from other weights is not random.
    refuse_random_weights(getattr(model, "random_weights", lacking_weights(info)), name)
    return (model if place is None else model.to(place)).eval()


def existing_device(name: torch.device | str) -> torch.device:
    """Give a device that computes here.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise ValueError("--device meta computes nothing; give cpu, cuda or cuda:1")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"there is no device {name} here ({reason}); give cpu, or leave --device out") from error
    return device
