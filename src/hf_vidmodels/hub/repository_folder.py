"""What a folder must hold to be a model repository on the Hub, and which of its files belong there."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import get_token
from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_import_files

from ..atomic_io import read_json_object

# Resumable training states, and what trackers, Python and the Hub client write beside a model.
LOCAL_FOLDERS = frozenset({"checkpoints", "runs", "logs", "wandb", "trackio", "mlruns", "tensorboard", "__pycache__"})
SHARED_HIDDEN_NAMES = frozenset({".eval_results", ".gitattributes"})
# Formats whose loading can run code that came with the file.
UNSAFE_SUFFIXES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
TEXT_SUFFIXES = frozenset({".json", ".jsonl", ".md", ".py", ".txt", ".yaml", ".yml"})
TOKEN_PATTERN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")


def repository_files(folder: str | os.PathLike[str]) -> list[str]:
    """List the files of `folder` that belong in its repository.

    Left out are training checkpoints, the folders of experiment trackers, and hidden files other than
    `.eval_results/` and `.gitattributes`.

    Returns:
        Paths relative to `folder` with `/` between parts, sorted.

    Raises:
        FileNotFoundError: when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; name the output_dir of a finished run or a saved model")
    paths = (PurePosixPath(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if _is_shared(path))


def check_folder(folder: str | os.PathLike[str]) -> list[str]:
    """Check that `folder` is a whole model repository that is safe to share.

    It needs `config.json`, readable safetensors weights, a `README.md` with metadata, and the code that the `auto_map`
    of `config.json` names; it may hold no pickles and no access token.

    Returns:
        The files to upload, as `repository_files`.

    Raises:
        FileNotFoundError: when a needed file is missing; the message says how to make it.
        ValueError: when a file is there but broken or must not be shared.
    """
    folder = Path(folder)
    files = repository_files(folder)
    _refuse_unsafe_files(folder, files)
    config = _read_config(folder)
    _check_weights(folder)
    _check_card(folder)
    _check_code(folder, config)
    _refuse_tokens(folder, files)
    return files


def _is_shared(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") and part not in SHARED_HIDDEN_NAMES for part in path.parts)
    return not hidden and path.parts[0] not in LOCAL_FOLDERS and "__pycache__" not in path.parts


def _refuse_unsafe_files(folder: Path, files: list[str]) -> None:
    if unsafe := [name for name in files if PurePosixPath(name).suffix.lower() in UNSAFE_SUFFIXES]:
        raise ValueError(
            f"{folder} holds {', '.join(unsafe)}: only safetensors weights are shared, because loading such files can "
            "run code; save the model with save_pretrained and remove them"
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; save the model there with model.save_pretrained({str(folder)!r})")
    config = read_json_object(path, "the configuration that model.save_pretrained writes")
    if "model_type" not in config:
        raise ValueError(f"{path} has no model_type, so no Auto class can load it; save the model again")
    return config


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in names:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; save the weights with model.save_pretrained({str(folder)!r})")
        try:
            with safe_open(path, framework="np"):
                continue
        except SafetensorError as error:
            raise ValueError(f"{path} is no whole safetensors file ({error}); save the model again") from error


def _check_card(folder: Path) -> None:
    path = folder / "README.md"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; make the card of a finished run with "
            f"hf_vidmodels.hub.cards.write_card({str(folder)!r}), or write one"
        )
    if not re.match(r"---\r?\n.+?\r?\n---\r?\n", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        raise ValueError(f"{path} does not begin with metadata between two lines of ---, as the Hub expects")


def _check_code(folder: Path, config: dict[str, Any]) -> None:
    if "auto_map" not in config:
        raise FileNotFoundError(
            f"{folder} has no code (no auto_map in config.json), so that only processes with hf_vidmodels could load "
            f"it; add it with hf_vidmodels.hub.code_export.export_code(model, {str(folder)!r}, [processor])"
        )
    for stem in sorted(set(_local_modules(config["auto_map"]))):
        try:
            get_relative_import_files(folder / f"{stem}.py")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"the code in {folder} is not whole, {Path(error.filename).name} is missing; write it again with "
                f"hf_vidmodels.hub.code_export.export_code(model, {str(folder)!r}, [processor])"
            ) from error


def _local_modules(auto_map: dict[str, str]) -> Iterator[str]:
    """Yield the module of each class; one with `--` lies in another repository."""
    return (reference.split(".")[0] for reference in auto_map.values() if "--" not in reference)


def _refuse_tokens(folder: Path, files: list[str]) -> None:
    token = get_token()
    for name in files:
        if PurePosixPath(name).suffix not in TEXT_SUFFIXES:
            continue
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
        if TOKEN_PATTERN.search(text) or (token and token in text):
            raise ValueError(f"{folder / name} holds what looks like a Hugging Face token; remove it before sharing")
