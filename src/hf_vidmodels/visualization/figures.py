"""The door to matplotlib: figures made without pyplot (no global state, no window, nothing to close), and saved."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_io import atomic_write
from ..optional_packages import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def new_figure(**settings: Any) -> "Figure":
    """Make an empty figure.

    Args:
        settings: as `matplotlib.figure.Figure` takes them; `figsize` in inches.

    Raises:
        MissingPackageError: when matplotlib is not installed.
    """
    return require("matplotlib.figure", "drawing").Figure(**settings)


def save_figure(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = DOTS_PER_INCH) -> None:
    """Write `figure` to `path` atomically, in the format of its suffix (`.png`, `.pdf`, `.svg`, `.jpg`).

    Raises:
        ValueError: when the suffix is missing or names no picture format.
        OSError: when the file cannot be written.
    """
    path = Path(path)
    formats = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in formats:
        raise ValueError(f"{path} must end in a picture format, one of .{', .'.join(sorted(formats))}")
    with atomic_write(path) as file:
        figure.savefig(file, format=suffix, dpi=dpi)
