"""Names of files in tables and lists of users."""

import os
from pathlib import Path


def name_below(folder: str | os.PathLike[str], name: str) -> str:
    r"""Give the name of a file below a folder with the separators of this system.

    Tables written on Windows have backslashes (`train\a.mp4`). They part folders, unless a file is called so.

    Args:
        folder: that the name is relative to.
        name: as it stands in the table.
    """
    if "\\" not in name or os.path.lexists(Path(folder) / name):
        return name
    return name.replace("\\", "/")
