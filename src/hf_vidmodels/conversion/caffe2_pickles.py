"""Reading the Caffe2 files of the SlowFast authors: pickles, of which arrays and plain values are admitted only."""

import pickle
import re
from pathlib import Path

import numpy as np
import torch

from ..data.published.wtalc import RestrictedUnpickler

OPTIMISER_STATE = re.compile(r".*_momentum|lr|model_iter")
# Lateral connections are named after what they follow: the stem's pooling, or the last block of a fast stage.
LATERAL = re.compile(r"t_(?:pool1|res(\d)_(\d+)_branch2c_bn)_subsample(_.+)")


def read_caffe2_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a Caffe2 file by their names, without the state of its optimiser.

    Lateral connections are called `lateral0` (behind the stem) to `lateral3`.

    Raises:
        ValueError: the file is no pickle of arrays under `blobs`, or wants to call anything else; nothing is run.
    """
    try:
        with path.open("rb") as file:
            content = _TextUnpickler(file, encoding="latin1").load()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"the pickle {path} is refused: {error}; do not use this file") from error
    blobs = content.get("blobs") if isinstance(content, dict) else None
    if not isinstance(blobs, dict) or not all(isinstance(value, np.ndarray) for value in blobs.values()):
        raise ValueError(f"{path} is no Caffe2 checkpoint: expected a dict of arrays under 'blobs'")
    return {
        _lateral_named(name): torch.from_numpy(np.ascontiguousarray(value))
        for name, value in blobs.items()
        if not OPTIMISER_STATE.fullmatch(name)
    }


class _TextUnpickler(RestrictedUnpickler):
    """Also makes the bytes that Python 3 writes into pickles of protocol 2."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        return super().find_class(module, name)


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"it wants bytes in {encoding}, which no array needs")
    return text.encode("latin1")


def _lateral_named(name: str) -> str:
    match = LATERAL.fullmatch(name)
    return name if match is None else f"lateral{int(match[1]) - 1 if match[1] else 0}{match[3]}"
