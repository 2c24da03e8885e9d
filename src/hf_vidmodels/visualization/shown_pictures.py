"""Pictures in figures: with no more pixels than are seen, in axes without ticks."""

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .figures import DOTS_PER_INCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# So many more pixels than dots that reducing a picture is not seen.
PIXELS_PER_DOT = 2
# Settings of axes. Hidden ticks are laid out too, which takes half the time of a sheet.
WITHOUT_TICKS = {"xticks": [], "yticks": []}


def reduced_picture(picture: np.ndarray, inches: float) -> np.ndarray:
    """Reduce a picture by a whole factor to what a figure shows of it; smaller ones stay as they are.

    Args:
        picture: uint8 (H, W, 3), or float32 (H, W).
        inches: of the longer side in the figure, at most.
    """
    factor = max(picture.shape[:2]) // round(inches * DOTS_PER_INCH * PIXELS_PER_DOT)
    return np.asarray(Image.fromarray(picture).reduce(factor)) if factor > 1 else picture


def show_picture(axes: "Axes", picture: Any, inches: float, **settings: Any) -> None:
    """Show a picture; what else is drawn in the axes has the coordinates of all its pixels.

    Args:
        axes: where.
        picture: PIL image, or array as `reduced_picture` takes it.
        inches: likewise.
        settings: as `imshow` takes them.
    """
    picture = np.asarray(picture)
    height, width = picture.shape[:2]
    axes.imshow(reduced_picture(picture, inches), extent=(-0.5, width - 0.5, height - 0.5, -0.5), **settings)
