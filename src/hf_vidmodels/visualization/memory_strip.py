"""What the clips of a film get back from the memory that they share: gates and scores along the film."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure
from .shown_pictures import WITHOUT_TICKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIP_INCHES = 1.3
WITH_MEMORY, WITHOUT_MEMORY = "#0072b2", "#d55e00"


def draw_memory_strip(
    frames: np.ndarray,
    scores: np.ndarray,
    plain_scores: np.ndarray,
    gates: np.ndarray | None,
    *,
    label: str,
    title: str = "",
    times: Sequence[float] | None = None,
) -> "Figure":
    """Draw a row of clips, and below it how sure each is of one class with and without the others.

    Args:
        frames: (N, H, W, 3) uint8, a frame of each clip.
        scores: (N,) in [0, 1], of the class by each clip with the memory.
        plain_scores: (N,) the same without it.
        gates: (N,) in (0, 1), the mean gate of each clip; None where there are no gates.
        label: the class.
        title: name of the video.
        times: seconds of each frame in its video; None to number the clips.

    Raises:
        ValueError: frames or scores are of another shape.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (N, H, W, 3), got {frames.dtype} of shape {frames.shape}")
    if any(row is not None and row.shape != (len(frames),) for row in (scores, plain_scores, gates)):
        raise ValueError(f"scores and gates must have one number for each of the {len(frames)} clips")
    figure = new_figure(figsize=(max(CLIP_INCHES * len(frames), 6), 4.2), layout="constrained")
    figure.suptitle(f"{title}: what each clip says of '{label}', alone and after reading the memory", fontsize=9)
    grid = figure.add_gridspec(2, len(frames), height_ratios=(1.2, 2))
    names = [f"clip {number + 1}" for number in range(len(frames))]
    if times is not None:
        names = [f"{time:.1f} s" for time in times]
    for number, frame in enumerate(frames):
        axis = figure.add_subplot(grid[0, number], **WITHOUT_TICKS)
        axis.imshow(frame)
        axis.axis("off")
    axis = figure.add_subplot(grid[1, :])
    places = np.arange(len(frames))
    axis.bar(places - 0.2, plain_scores, 0.4, color=WITHOUT_MEMORY, label="score of the clip alone")
    axis.bar(places + 0.2, scores, 0.4, color=WITH_MEMORY, label="score with the memory")
    if gates is not None:
        axis.plot(places, gates, "ko--", markersize=4, linewidth=1, label="share of its features that the gate keeps")
    axis.set(xlim=(-0.5, len(frames) - 0.5), ylim=(0, 1), xticks=places)
    axis.set_xticklabels(names, fontsize=8)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=8, frameon=False)
    return figure
