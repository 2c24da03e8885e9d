"""What all converters share: reading published weight files safely and filling a model with nothing left over."""

import argparse
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

PICKLE_SUFFIXES = (".pth", ".pyth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")
# The names under which training scripts commonly put the weights beside the optimizer and the epoch.
WEIGHT_KEYS = ("model_state_dict", "model_state", "state_dict")
# Scores that were saved as NumPy numbers: harmless, but not on torch's own list. NumPy 2 renamed the module.
NUMPY_SCALAR = np.float64(0).__reduce__()[0]
SAFE_NUMPY_GLOBALS = [
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
]
# Command-line options that training scripts save with the weights: attributes and nothing else.
SAFE_GLOBALS = [*SAFE_NUMPY_GLOBALS, argparse.Namespace]
MAX_NAMES_SHOWN = 8
# torch.save stores without compression, so its files announce about what they are long.
MAX_INFLATION = 2


def read_state_dict(
    source: str | os.PathLike[str] | Mapping[str, Any], weight_keys: Sequence[str] = WEIGHT_KEYS
) -> dict[str, torch.Tensor]:
    """Read the weights of one network.

    Args:
        source: a `.safetensors` file, a file written by `torch.save` (read with `weights_only=True`, so that it cannot
            run code), or what such a file holds.
        weight_keys: names under which weights may lie in it, the first that is there counts.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a file of another kind, damaged or with pickled code, content that is no set of tensors, or a
            tensor whose values no network computes with; names it.
    """
    name, content = "the given state dict", source
    if isinstance(source, str | os.PathLike):
        name, content = os.fspath(source), read_weight_file(Path(source))
    if isinstance(content, Mapping):
        content = next((content[key] for key in weight_keys if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{name} holds no weights: expected a dict of tensors, got {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str):
            raise ValueError(f"{name} is no dict of named weights: it has the name {key!r}; give that of the network")
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} is no dict of tensors: {key!r} is of type {type(value).__name__}")
        _check_values(name, key, value)
    return dict(content)


def load_strictly(model: nn.Module, state_dict: Mapping[str, torch.Tensor], official_names: Mapping[str, str]) -> None:
    """Fill `model` so that every weight of both sides is used.

    Args:
        model: the model to fill.
        state_dict: weights under the model's own names.
        official_names: for each of them, and for the model's others where known, what the user's checkpoint calls it,
            for messages.

    Raises:
        ValueError: naming weights that the model lacks, that the checkpoint lacks, or whose shapes differ.
    """
    wanted = model.state_dict()
    if unknown := sorted(official_names[key] for key in state_dict if key not in wanted):
        raise ValueError(f"the checkpoint has weights that the model has no place for: {listed(unknown)}")
    if missing := sorted(official_names.get(key, key) for key in wanted if key not in state_dict):
        raise ValueError(f"the checkpoint lacks weights of the model: {listed(missing)}")
    for key, value in state_dict.items():
        if value.shape != wanted[key].shape:
            raise ValueError(
                f"{official_names[key]} has shape {tuple(value.shape)} but the model's {key} has "
                f"{tuple(wanted[key].shape)}; the official configuration does not belong to this checkpoint"
            )
        if value.is_floating_point() != wanted[key].is_floating_point():
            raise ValueError(
                f"{official_names[key]} holds {value.dtype} but the model's {key} {wanted[key].dtype}; convert the "
                "checkpoint that was trained"
            )
    model.load_state_dict(state_dict)


def _check_values(name: str, key: str, value: torch.Tensor) -> None:
    """Refuse what would become a weight without a word: another type of number, or none."""
    if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.dtype is torch.bool:
        kind = str(value.dtype).removeprefix("torch.")
        raise ValueError(
            f"{name} has no plain numbers in {key!r} but {kind} ({value.layout}); convert the checkpoint that was "
            "trained, as floating-point numbers"
        )
    if value.is_floating_point() and not value.float().isfinite().all():
        raise ValueError(f"{name} has values in {key!r} that are NaN or infinite; its training went wrong")


def read_weight_file(path: Path) -> Any:
    """Read what a weight file holds, without running code of it.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a file of another kind, damaged, or with more than weights in it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the checkpoint file {path} does not exist")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a complete safetensors file ({error}); copy it again") from error
    if path.suffix not in PICKLE_SUFFIXES:
        raise ValueError(f"{path} is not a checkpoint; use .safetensors or one of {', '.join(PICKLE_SUFFIXES)}")
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            _refuse_inflated(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "rror:" in line), str(error).partition("\n")[0])
        raise ValueError(
            f"{path} holds more than weights, which is not read because it can run any code ({reason.strip()}); "
            "save its state dict alone with torch.save or safetensors"
        ) from error
    except Exception as error:
        # Damage shows as whatever the parsing of the file runs into.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a complete file of torch.save ({reason}); copy it again") from error


def _refuse_inflated(path: Path) -> None:
    """Refuse an archive that would become much larger in memory than it is."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        announced = sum(member.file_size for member in archive.infolist())
    length = path.stat().st_size
    if announced > MAX_INFLATION * length + 2**20:
        raise ValueError(f"it announces {announced:,} bytes in a file of {length:,}, which torch.save never writes")


def listed(names: list[str]) -> str:
    """Join names for a message, with the number of those beyond the first few."""
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + more
