"""Resumable checkpoints and best weights: folders that are complete or do not count, old ones deleted.

A checkpoint is a folder `checkpoints/<stage>-<global step>` with Accelerate's state (weights in training, optimizer,
schedule, gradient scaler), `run.pt` (weights of the model that are not in training, averaged weights), one
`process_<rank>.pt` per process (the recipe's state, the loss since the last log line) and `trainer_state.json`. It is
written under a hidden name and renamed when everything is on the disk.
"""

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim.swa_utils import AveragedModel
from transformers import PreTrainedModel

from ..atomic_io import atomic_directory
from .run_state import STATE_FILE, RunState

CHECKPOINTS_FOLDER = "checkpoints"
WORK_FOLDER = "work"
_BEST_PREFIX = "best-"


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first; half-written ones are left out."""
    folder = output_dir / CHECKPOINTS_FOLDER
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if not path.name.startswith(".") and (path / STATE_FILE).is_file()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def find_checkpoint(output_dir: Path, wanted: str) -> Path | None:
    """Return the checkpoint that `resume_from_checkpoint` names; None for `last` when there is none yet.

    Raises:
        FileNotFoundError: when there is no complete checkpoint at that path.
        ValueError: when it belongs to another output folder.
    """
    complete = list_checkpoints(output_dir)
    if wanted == "last":
        return complete[-1] if complete else None
    path = Path(wanted)
    if not (path / STATE_FILE).is_file():
        names = ", ".join(found.name for found in complete) or "none"
        raise FileNotFoundError(f"There is no complete checkpoint at {path} (in {output_dir}: {names}).")
    if path.resolve().parent != (output_dir / CHECKPOINTS_FOLDER).resolve():
        raise ValueError(
            f"The checkpoint {path} is not one of the run in {output_dir}: a run goes on in its own folder, for its "
            "log and the files between its stages lie there. Copy the whole folder to branch off."
        )
    return path


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: Path,
    name: str,
    state: RunState,
    fingerprint: dict[str, Any],
    run_part: dict[str, Any],
    process_part: dict[str, Any],
) -> None:
    """Write one checkpoint, together on all processes; an equal one that is there already stays.

    Args:
        accelerator: holds what is prepared.
        output_dir: folder of the run.
        name: `<stage>-<global step>`.
        state: the counters.
        fingerprint: see `RunState.save`.
        run_part: what else belongs to the run, saved by the main process.
        process_part: what belongs to this process.

    Raises:
        OSError: when it cannot be written; earlier checkpoints stay as they are.
    """
    final = output_dir / CHECKPOINTS_FOLDER / name
    if (final / STATE_FILE).is_file():
        return
    temporary = final.with_name(f".{name}.tmp")
    if accelerator.is_main_process:
        for leftover in (temporary, final):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    try:
        with one_sentence_when_writing_fails(final):
            accelerator.save_state(str(temporary))
            torch.save(process_part, temporary / f"process_{accelerator.process_index}.pt")
            if accelerator.is_main_process:
                torch.save(run_part, temporary / "run.pt")
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                state.save(temporary, fingerprint)
                _flush_to_disk(temporary)
                os.rename(temporary, final)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    accelerator.wait_for_everyone()


@dataclass(frozen=True)
class SavedParts:
    """What a checkpoint holds beside Accelerate's state: what belongs to the run, and to this process."""

    run: dict[str, Any]
    process: dict[str, Any]


def read_parts(checkpoint: Path, process_index: int) -> SavedParts:
    """Return what `save_checkpoint` was given as `run_part` and as this process's `process_part`.

    Raises:
        ValueError: when a file of the checkpoint is damaged or missing.
    """
    with _one_sentence_when_reading_fails(checkpoint):
        run, process = (
            torch.load(checkpoint / f"{name}.pt", map_location="cpu", weights_only=True)
            for name in ("run", f"process_{process_index}")
        )
    return SavedParts(run, process)


def restore_prepared(accelerator: Accelerator, checkpoint: Path) -> None:
    """Restore module, optimizer and schedule that were prepared last.

    Raises:
        ValueError: when a file of the checkpoint is damaged or does not fit them.
    """
    with _one_sentence_when_reading_fails(checkpoint):
        accelerator.load_state(str(checkpoint))


def restore_rest(run_part: dict[str, Any], model: nn.Module, average: AveragedModel | None) -> None:
    """Restore the weights that are not in training, and the averaged ones."""
    model.load_state_dict(run_part["untrained"], strict=False)
    if average is not None:
        average.load_state_dict(run_part["average"])


def run_part(model: nn.Module, module: nn.Module, average: AveragedModel | None) -> dict[str, Any]:
    """Return what `restore_rest` takes: weights of the whole model outside the module in training, and the average."""
    return {
        "untrained": untrained_weights(model, module),
        "average": None if average is None else average.state_dict(),
    }


def delete_old_checkpoints(output_dir: Path, limit: int | None) -> None:
    """Delete all but the newest `limit` checkpoints (None: keep all); one that is half deleted no longer counts."""
    for folder in list_checkpoints(output_dir)[: -limit if limit else 0]:
        (folder / STATE_FILE).unlink()
        shutil.rmtree(folder)


def untrained_weights(model: nn.Module, module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and buffers of the whole model that are not part of the module in training."""
    trained = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    whole = model.state_dict(keep_vars=True)
    return {name: tensor.detach() for name, tensor in whole.items() if id(tensor) not in trained}


def whole_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return all weights of the model, on the main process complete even where they are sharded."""
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def save_best_model(accelerator: Accelerator, output_dir: Path, model: PreTrainedModel, state: RunState) -> None:
    """Keep the model as the best one so far, in place of the one before."""
    weights = whole_state_dict(model)
    if accelerator.is_main_process:
        folder = _best_folder(output_dir, state)
        if not folder.is_dir():
            with atomic_directory(folder) as temporary:
                model.save_pretrained(temporary, state_dict=weights)
        for other in folder.parent.glob(f"{_BEST_PREFIX}*"):
            if other != folder:
                shutil.rmtree(other)
    accelerator.wait_for_everyone()


def load_best_model(output_dir: Path, model: PreTrainedModel, state: RunState) -> None:
    """Give the model the weights of the best evaluation.

    Raises:
        FileNotFoundError: when they are gone.
    """
    folder = _best_folder(output_dir, state)
    if not folder.is_dir():
        raise FileNotFoundError(f"The best weights, of step {state.best_step}, are missing: there is no {folder}.")
    best = type(model).from_pretrained(folder).state_dict()
    # Since then the method may have dropped what only training needs.
    model.load_state_dict({name: best[name] for name in model.state_dict()})


def _best_folder(output_dir: Path, state: RunState) -> Path:
    return output_dir / CHECKPOINTS_FOLDER / f"{_BEST_PREFIX}{state.best_step}"


@contextmanager
def _one_sentence_when_reading_fails(checkpoint: Path) -> Iterator[None]:
    """Turn what the reading libraries raise into one ValueError."""
    try:
        yield
    except (OSError, EOFError, SafetensorError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"The checkpoint {checkpoint} is damaged or does not fit the model ({error}); resume from an earlier one."
        ) from error


@contextmanager
def one_sentence_when_writing_fails(path: Path) -> Iterator[None]:
    """Turn what the libraries raise when they cannot write `path` (a full disk, say) into one OSError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            f"{path} could not be written ({error}; {free / 1e6:.1f} MB are free there); earlier checkpoints are "
            "intact, make room and go on with --resume_from_checkpoint last."
        ) from error


def _flush_to_disk(folder: Path) -> None:
    """Wait until the folder's files are on the disk, so that a power cut after the renaming finds them whole."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
