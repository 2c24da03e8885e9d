"""The inputs of a prediction command: a file, or all files of a kind in a folder."""

from collections import Counter
from pathlib import Path

from accelerate import PartialState

from ..processing.media_suffixes import PICTURE_SUFFIXES, UNREAD_PICTURE_SUFFIXES


def find_pictures(path: Path) -> dict[str, Path]:
    """Find the pictures by file name; say how many of a folder are of kinds that are not read.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a file is no picture by its suffix.
    """
    if path.is_file():
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            raise ValueError(f"{path} is no picture (known: {', '.join(sorted(PICTURE_SUFFIXES))})")
        return {path.name: path}
    everything = sorted(path.rglob("*"))
    files = [file for file in everything if file.suffix.lower() in PICTURE_SUFFIXES]
    if not files:
        raise FileNotFoundError(f"there is no picture in {path} (known: {', '.join(sorted(PICTURE_SUFFIXES))})")
    unread = Counter(file.suffix.lower() for file in everything)
    kinds = [f"{unread[suffix]} {suffix}" for suffix in sorted(UNREAD_PICTURE_SUFFIXES & unread.keys())]
    if kinds and PartialState().is_main_process:
        print(f"passing over pictures of kinds that are not read: {', '.join(kinds)}")
    return {str(file.relative_to(path)): file for file in files}
