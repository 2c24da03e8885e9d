"""How a network with learned temporal matrices mixes frames: its matrices, and its regions in the frames of a clip."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure
from .shown_pictures import WITHOUT_TICKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATRIX_INCHES = 3.6
HEAD_INCHES = 1.3
TITLE_SIZE = 8
STRIP_COLUMNS = 8
PANEL_INCHES = 1.5
REGION_OPACITY = 0.6
# Told apart by people who see red and green alike (Okabe and Ito).
REGION_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")


def draw_temporal_matrices(matrices: Mapping[str, np.ndarray]) -> "Figure":
    """Draw learned temporal matrices, a square of frames by frames for every pair of a head and a group.

    Args:
        matrices: by the place where they stand (heads, groups, T target frames, T source frames), float.

    Returns:
        The figure, with one panel for each place and what it shows said above.

    Raises:
        ValueError: there are none, or one is of another shape.
    """
    if not matrices:
        raise ValueError("there are no temporal matrices to draw")
    for place, values in matrices.items():
        if values.ndim != 4 or values.shape[2] != values.shape[3]:
            raise ValueError(
                f"temporal matrices of {place} must be (heads, groups, T, T), got the shape {values.shape}"
            )
    columns = min(len(matrices), 2)
    rows = -(-len(matrices) // columns)
    size = (MATRIX_INCHES * columns + 0.8, MATRIX_INCHES * rows + HEAD_INCHES)
    figure = new_figure(figsize=size, layout="constrained")
    figure.suptitle(
        "How much of each frame goes into each frame, the same for all videos.\n"
        "A square is one group of channels (across) as one head (down) takes it in:\n"
        "its row is the frame that is made, its column the frame that is read. Blue adds, red subtracts.\n"
        "Left of a square's diagonal lies the past, right of it the future.",
        fontsize=TITLE_SIZE + 1,
    )
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axis in panels:
        axis.axis("off")
    for axis, (place, values) in zip(figure.axes, matrices.items(), strict=False):
        _draw_squares(axis, place, values)
    return figure


def draw_regions(
    frames: np.ndarray, shares: Mapping[str, np.ndarray], *, title: str = "", times: Sequence[float] | None = None
) -> "Figure":
    """Draw which region every pixel of a clip belongs to most, in one row of frames for each place in the network.

    Args:
        frames: (T, H, W, 3) uint8, as the model saw them.
        shares: by the place where they were made (K regions, T', H', W') float, the share of each region in each cell;
            with fewer frames than the clip, frames share them.
        title: name of the video.
        times: seconds of each frame in its video; None to number them.

    Raises:
        ValueError: there are no shares, or frames or shares are of another shape.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} of shape {frames.shape}")
    if not shares or any(values.ndim != 4 for values in shares.values()):
        raise ValueError(
            "regions need shares (regions, T, H, W) of at least one place, got "
            f"{ {place: values.shape for place, values in shares.items()} }"
        )
    shown = np.linspace(0, len(frames) - 1, min(len(frames), STRIP_COLUMNS)).round().astype(int)
    height = PANEL_INCHES * frames.shape[1] / frames.shape[2]
    figure = new_figure(
        figsize=(PANEL_INCHES * len(shown) + 0.4, height * (len(shares) + 1) + 0.8), layout="constrained"
    )
    name = f"{title}: " if title else ""
    head = (
        f"{name}the regions that the network makes of every frame, one colour each.\n"
        "What it finds in the pixels of a colour is gathered, mixed over the frames, and given back to them."
    )
    # A dollar sign would start a formula.
    figure.suptitle(head.replace("$", r"\$"), fontsize=TITLE_SIZE + 1)
    panels = figure.subplots(len(shares) + 1, len(shown), squeeze=False, subplot_kw=WITHOUT_TICKS)
    for axis in panels.flat:
        axis.spines[:].set_visible(False)
    for axis, number in zip(panels[0], shown, strict=True):
        axis.imshow(frames[number])
        label = f"frame {number + 1}" if times is None else f"{times[number]:.2f} s"
        axis.set_title(label, fontsize=TITLE_SIZE)
    panels[0, 0].set_ylabel("frames", fontsize=TITLE_SIZE)
    for row, (place, values) in zip(panels[1:], shares.items(), strict=True):
        row[0].set_ylabel(f"regions {place}", fontsize=TITLE_SIZE)
        for axis, number in zip(row, shown, strict=True):
            _draw_regions_of_frame(axis, frames[number], values[:, number * values.shape[1] // len(frames)])
    return figure


def _draw_squares(axis: "Axes", place: str, values: np.ndarray) -> None:
    heads, groups, frames, _ = values.shape
    greatest = max(float(np.abs(values).max()), 1e-12)
    axis.axis("on")
    axis.imshow(
        values.transpose(0, 2, 1, 3).reshape(heads * frames, groups * frames),
        cmap="RdBu",
        vmin=-greatest,
        vmax=greatest,
        interpolation="nearest",
    )
    for count, line in ((groups, axis.axvline), (heads, axis.axhline)):
        for number in range(1, count):
            line(number * frames - 0.5, color="black", linewidth=0.8)
    middles = (frames - 1) / 2
    axis.set_xticks([number * frames + middles for number in range(groups)], [str(n + 1) for n in range(groups)])
    axis.set_yticks([number * frames + middles for number in range(heads)], [str(n + 1) for n in range(heads)])
    axis.tick_params(length=0, labelsize=TITLE_SIZE)
    axis.set_xlabel(f"group, in each {frames} frames that are read, first to last", fontsize=TITLE_SIZE)
    axis.set_ylabel("head, in each the frames that are made, first to last", fontsize=TITLE_SIZE)
    axis.set_title(f"{place} (strongest {greatest:.2f})", fontsize=TITLE_SIZE)


def _draw_regions_of_frame(axis: "Axes", frame: np.ndarray, shares: np.ndarray) -> None:
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(REGION_COLOURS[number % len(REGION_COLOURS)]) for number in range(len(shares))])
    height, width = frame.shape[:2]
    axis.imshow(frame.mean(-1), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    axis.imshow(colours[shares.argmax(0)], alpha=REGION_OPACITY, extent=(0, width, height, 0), interpolation="nearest")
