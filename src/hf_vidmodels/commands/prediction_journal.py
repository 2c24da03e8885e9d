"""The journal of a prediction: what came of each block of inputs, so that a stopped run goes on where it was.

A file of JSON lines beside the results: first what the predictions depend on, then one line for each finished block.
It is gone when all inputs are done; while some have failed it stays, and the next start tries their blocks again.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..output_files import output_file

FILE_NAME = "predictions.journal"
# Where and on what a command runs does not change what it finds.
_WITHOUT_EFFECT = ("device", "output_dir")
_MODEL_FILES = ("*.json", "*.safetensors", "*/*/*.safetensors")


class PredictionJournal:
    """The finished blocks of a prediction.

    Args:
        arguments: the command line.
        inputs: sources by name.
        file_name: of the journal.

    Attributes:
        path: the file.
        blocks: what came of the inputs of each finished block, by number; of another prediction nothing is taken.
    """

    def __init__(self, arguments: argparse.Namespace, inputs: Mapping[str, Any], file_name: str = FILE_NAME) -> None:
        self.path = output_file(arguments.output_dir, file_name)
        self._identity = _identity_of(arguments, inputs)
        self.blocks: dict[int, list[list[Any]]] = {}
        self._size = 0
        if self.path.is_file():
            self._read()

    def add(self, block: int, found: Sequence[Sequence[Any]]) -> None:
        """Write what came of the inputs of a block.

        Raises:
            OSError: it cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            # What follows the last whole line was cut off.
            file.truncate(self._size)
            if not self._size:
                file.write(json.dumps(self._identity).encode() + b"\n")
            file.write(json.dumps([block, found], default=_as_json).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._size = file.tell()

    def remove(self) -> None:
        """Take the file away: all is done."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            try:
                record = json.loads(line, object_hook=_from_json) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            if record is None or (number == 0 and record != self._identity):
                return
            if number:
                block, found = record
                self.blocks[block] = found
            self._size += len(line)


def _identity_of(arguments: argparse.Namespace, inputs: Mapping[str, Any]) -> str:
    settings = {
        name: [str(value), _state_of(value)] for name, value in vars(arguments).items() if name not in _WITHOUT_EFFECT
    }
    model = Path(arguments.model)
    files = {str(path): _state_of(path) for pattern in _MODEL_FILES for path in model.glob(pattern)}
    sources = {name: [str(source), _state_of(source)] for name, source in inputs.items()}
    return hashlib.sha256(json.dumps([settings, files, sources], sort_keys=True).encode()).hexdigest()


def _state_of(source: Any) -> list[int]:
    """Size and time of change of a file; of other sources only their names count."""
    if not isinstance(source, str | os.PathLike) or not os.path.isfile(source):
        return []
    state = os.stat(source)
    return [state.st_size, state.st_mtime_ns]


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype), "shape": value.shape}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a prediction cannot hold {type(value).__name__}")


def _from_json(value: dict[str, Any]) -> Any:
    if value.keys() == {"array", "dtype", "shape"}:
        return np.array(value["array"], value["dtype"]).reshape(value["shape"])
    return value
