"""Where commands may write: names that come from data stay inside the output folder, and inputs stay as they are."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

LONGEST_NAME = 255
# Names that stand for devices on Windows, whatever their suffix.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", flags=re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def output_file(folder: str | os.PathLike[str], name: str, suffix: str = "", *, nested: bool = False) -> Path:
    """Give the path of a file in an output folder whose name comes from data.

    Args:
        folder: the output folder; it may itself be a link.
        name: a split, a video's id, a picture's name.
        suffix: what follows it.
        nested: whether `name` may be a path with `/`, which becomes folders in `folder`; only then may it begin with a
            dot, as files of other programs do.

    Raises:
        ValueError: the name would leave the folder or is none that every system can store, or the file or a folder on
            the way to it is a symbolic link, which is not followed.
    """
    text = f"{name}{suffix}"
    parts = text.split("/") if nested else [text]
    for part in parts:
        fault = _fault_of(part)
        if not fault and not nested and (not name or name.startswith(".")):
            fault = "it is empty or begins with a dot"
        if fault:
            raise ValueError(f"{name!r} cannot name a file in {folder}: {fault}; rename it")
    path = Path(folder)
    for part in parts:
        path /= part
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link, which is not followed when results are written; remove it")
    return path


def refuse_inputs_as_outputs(
    outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str] | None]
) -> None:
    """Raise ValueError when a file or folder to write is one that is read, by whatever path it is named.

    Args:
        outputs: files and folders that a command writes; the folder of an input file counts as that file.
        inputs: those that it reads; None, and names of the Hub, are passed over.
    """
    read = {}
    for path in inputs:
        if path is not None and os.path.exists(path):
            place = os.path.realpath(path)
            read[place] = path
            if os.path.isfile(place):
                read.setdefault(os.path.dirname(place), path)
    for path in outputs:
        if (place := os.path.realpath(path)) in read:
            raise ValueError(
                f"the output {path} is the place of the input {read[place]}, which it could overwrite; choose another"
            )


def _fault_of(part: str) -> str | None:
    if part.strip(" ") in ("", ".", "..") or part.strip(" ") != part:
        return "it is empty, '.' or '..', or has spaces around it"
    if "/" in part or "\\" in part:
        return "it has a separator of folders in it"
    if _CONTROL.search(part):
        return "it has control characters in it"
    if _RESERVED.fullmatch(part):
        return "it is a reserved name of Windows"
    if len(os.fsencode(part)) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} bytes"
    return None
