"""The inputs of a prediction command: a file, or all files of a kind in a folder."""

from pathlib import Path

from ..processing.media_suffixes import PICTURE_SUFFIXES


def find_pictures(path: Path) -> dict[str, Path]:
    """Find the pictures by file name.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a file is no picture by its suffix.
    """
    if path.is_file():
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            raise ValueError(f"{path} is no picture (known: {', '.join(sorted(PICTURE_SUFFIXES))})")
        return {path.name: path}
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"there is no picture in {path} (known: {', '.join(sorted(PICTURE_SUFFIXES))})")
    return {str(file.relative_to(path)): file for file in files}
