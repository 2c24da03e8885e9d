"""A folder of generated files that is made once, checked whenever it is used, and made again when it was damaged."""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...atomic_io import atomic_directory, write_json

MANIFEST = "corpus.json"


def default_cache_dir() -> Path:
    """`$HF_VIDMODELS_CACHE`, or `~/.cache/hf_vidmodels`."""
    configured = os.environ.get("HF_VIDMODELS_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "hf_vidmodels"


def ensure_folder(folder: Path, make: Callable[[Path], dict[str, Any]]) -> Path:
    """Return `folder`, complete and undamaged.

    It is built in a temporary folder and renamed when it is complete. Processes that start at once wait for the one
    that builds. A damaged folder is replaced, with a warning that names what was wrong.

    Args:
        folder: where it belongs.
        make: fills the empty folder that it is given, and returns what else the manifest shall say.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock

    if folder.is_dir() and find_damage(folder) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():
            damage = find_damage(folder)
            if damage is None:
                return folder
            warnings.warn(f"{damage}; {folder} is damaged and is made again", stacklevel=3)
            _remove(folder)
        with atomic_directory(folder) as temporary:
            content = make(temporary)
            write_json(temporary / MANIFEST, {**content, "files": _list_files(temporary)})
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `make` returned when the folder was built, and `files`: SHA-256 of every file by its relative path."""
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def find_damage(folder: Path) -> str | None:
    """What is wrong with the folder, as a sentence without its full stop, or `None`."""
    try:
        files = read_manifest(folder)["files"].items()
    except FileNotFoundError:
        return f"{folder / MANIFEST} is missing"
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{folder / MANIFEST} is not the manifest that was written"
    for relative, checksum in files:
        path = folder / relative
        if not path.is_file():
            return f"{path} is missing"
        if _checksum(path) != checksum:
            return f"{path} does not have the content that was written"
    return None


def _list_files(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in paths}


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remove(folder: Path) -> None:
    """Take the folder away in one step, so that nobody reads it half removed."""
    grave = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".damaged"))
    os.rename(folder, grave / folder.name)
    shutil.rmtree(grave, ignore_errors=True)
