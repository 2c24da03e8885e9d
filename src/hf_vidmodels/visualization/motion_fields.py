"""How far every pixel of a clip moves until the next frame, and what the next frame makes of this one.

Displacements are coloured by the wheel that is customary for optical flow (Baker et al., "A Database and Evaluation
Methodology for Optical Flow", IJCV 2011): the hue is the direction, the strength the length.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure
from .picture_grid import plain_text
from .shown_pictures import WITHOUT_TICKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_INCHES = 1.4
WHEEL_SIDE = 64
ROWS = ("frame", "displacement", "from the next frame", "error x 3")
ERROR_FACTOR = 3


def colour_displacements(displacement: np.ndarray, greatest: float | None = None) -> np.ndarray:
    """Colour displacements by the wheel: float (T, 2, H, W) of (x, y) in pixels to uint8 (T, H, W, 3).

    Args:
        displacement: of every pixel.
        greatest: length that has the full strength; None for the greatest there is.

    Raises:
        ValueError: another shape, or values that are no numbers.
    """
    import torch
    from torchvision.utils import flow_to_image

    if displacement.ndim != 4 or displacement.shape[1] != 2 or not np.isfinite(displacement).all():
        raise ValueError(f"displacements must be numbers (T, 2, H, W), got the shape {displacement.shape}")
    lengths = np.linalg.norm(displacement, axis=1, keepdims=True)
    greatest = lengths.max() if greatest is None else greatest
    # Torchvision scales by the greatest length in a picture, so each gets a pixel of full length and none longer.
    scaled = displacement / max(greatest, 1e-6)
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1)
    column = np.zeros((*scaled.shape[:3], 1), scaled.dtype)
    column[:, 0] = 1
    with_length = torch.from_numpy(np.concatenate((scaled, column), axis=3)).float()
    return flow_to_image(with_length)[..., :-1].permute(0, 2, 3, 1).numpy()


def motion_frames(
    frames: np.ndarray, displacement: np.ndarray, reconstructed: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Put frames, their displacements and their reconstructions side by side, for a video.

    Args:
        frames: (T, 3, H, W) in [0, 1].
        displacement: (T, 2, H, W) in pixels.
        reconstructed: as frames.
        mask: (T, 1, H, W), 0 where nothing is known of a pixel, which is drawn grey.

    Returns:
        uint8 (T, H, 3 W, 3).
    """
    made = np.where(mask > 0, reconstructed, 0.5)
    return np.concatenate((_as_pictures(frames), colour_displacements(displacement), _as_pictures(made)), axis=2)


def draw_motion(
    frames: np.ndarray,
    displacement: np.ndarray,
    reconstructed: np.ndarray,
    mask: np.ndarray,
    *,
    title: str = "",
    times: Sequence[float] | None = None,
) -> "Figure":
    """Draw the frames of a clip, their displacements, and what is made of them from the next frames with the error.

    Args:
        frames: (T, 3, H, W) in [0, 1].
        displacement: (T, 2, H, W) in pixels.
        reconstructed: as frames.
        mask: (T, 1, H, W), 0 where nothing is known of a pixel, which is drawn grey.
        title: name of the video.
        times: seconds of each frame in its video; None to number them.

    Raises:
        ValueError: shapes that do not fit.
    """
    if not frames.shape == reconstructed.shape or len(frames) != len(displacement):
        raise ValueError(
            f"frames, reconstructions and displacements must be of the same frames, got the shapes {frames.shape}, "
            f"{reconstructed.shape} and {displacement.shape}"
        )
    greatest = float(np.linalg.norm(displacement, axis=1).max())
    error = np.abs(frames - reconstructed).mean(1, keepdims=True).repeat(3, axis=1) * ERROR_FACTOR
    known = mask > 0
    rows = (
        _as_pictures(frames),
        colour_displacements(displacement, greatest),
        _as_pictures(np.where(known, reconstructed, 0.5)),
        _as_pictures(np.where(known, 1 - np.minimum(error, 1), 0.5)),
    )
    columns = len(frames)
    size = (PANEL_INCHES * (columns + 1), PANEL_INCHES * len(rows) + 0.6)
    figure = new_figure(figsize=size, layout="constrained")
    heading = (
        f"{title}\nwhere everything moves until the next frame: the colour is the direction, its strength the length"
    )
    figure.suptitle(plain_text(heading), x=0.01, ha="left", fontsize=10)
    panels = figure.subplots(len(rows), columns + 1, squeeze=False, subplot_kw=WITHOUT_TICKS)
    for row, (name, pictures) in enumerate(zip(ROWS, rows, strict=True)):
        for axes, picture in zip(panels[row], pictures, strict=False):
            axes.imshow(picture)
        panels[row, 0].set_ylabel(name, fontsize=8)
        panels[row, -1].set_axis_off()
    for number, axes in enumerate(panels[0, :columns]):
        axes.set_title(str(number) if times is None else f"{times[number]:.2f} s", fontsize=8)
    wheel = panels[1, -1]
    wheel.imshow(_wheel())
    wheel.set_title(f"up to {greatest:.1f} pixels", fontsize=8)
    return figure


def _as_pictures(frames: np.ndarray) -> np.ndarray:
    """From float (T, 3, H, W) in [0, 1] to uint8 (T, H, W, 3)."""
    return (frames.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def _wheel() -> np.ndarray:
    """Give the colour of every direction and length: uint8 (side, side, 3), white beyond the full length."""
    steps = np.linspace(-1, 1, WHEEL_SIDE, dtype=np.float32)
    field = np.stack(np.meshgrid(steps, steps))[None]
    picture = colour_displacements(field, 1.0)[0]
    picture[np.linalg.norm(field[0], axis=0) > 1] = 255
    return picture
