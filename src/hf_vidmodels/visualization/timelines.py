"""Pictures of temporal localisation: true and predicted segments, attention and class activations over time."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure
from .shown_pictures import reduced_picture
from .timeline_content import (
    ATTENTION_COLOR,
    PALETTE,
    REFERENCE_COLOR,
    LabelNames,
    TimelineContent,
    bar_opacity,
    collect_timeline,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Layout in inches; every panel has a caption of CAPTION_HEIGHT above it.
FIGURE_WIDTH = 11.0
NAMES_WIDTH = 1.95
RIGHT_MARGIN = 0.35
PANEL_WIDTH = FIGURE_WIDTH - NAMES_WIDTH - RIGHT_MARGIN
HEAD_HEIGHT = 0.5
CAPTION_HEIGHT = 0.36
ROW_HEIGHT = 0.55
FRAMES_HEIGHT = 0.8
ATTENTION_HEIGHT = 0.9
ACTIVATION_HEIGHT = 1.5
LEGEND_LINE_HEIGHT = 0.17
TIME_AXIS_HEIGHT = 0.62
SMALL = 8.5
MAX_COLUMNS = 3

# Each class has the y range 0 to 1 of its own row: predictions stand on the floor, the truth lies above them.
PREDICTION_FLOOR, PREDICTION_HEIGHT = 0.05, 0.6
REFERENCE_FLOOR, REFERENCE_HEIGHT = 0.73, 0.17
LINE_STYLES = ("-", "--", ":", "-.")

# Height in inches and what draws the panel.
Panel = tuple[float, Callable[["Axes"], None]]


def draw_timeline(
    prediction: Mapping[str, Any],
    *,
    duration: float,
    label_names: LabelNames,
    reference: Mapping[str, Any] | None = None,
    attention: Any = None,
    class_scores: Any = None,
    curve_times: Any = None,
    video_frames: Sequence[np.ndarray] | np.ndarray | None = None,
    title: str | None = None,
    max_classes: int | None = 6,
    min_score: float | None = None,
    top_k: int | None = 200,
) -> "Figure":
    """Draw one video: frames, true and predicted segments per class, attention and class activations over seconds.

    What the limits leave out is counted in a note under the picture. Segments are cut at 0 and `duration`.

    Args:
        prediction: `segments` `(N, 2)` in seconds, `scores` `(N,)`, `labels` `(N,)`; N may be 0.
        duration: length of the video in seconds.
        label_names: class names by id.
        reference: true `segments` `(M, 2)` in seconds and `labels` `(M,)`.
        attention: `(T,)` foreground attention.
        class_scores: `(T, num_labels)` class activation sequence; one further last column (background) is left out.
        curve_times: `(T,)` seconds of the curves' values; by default the centres of T equal parts of the video.
        video_frames: `(F, H, W, 3)` uint8 RGB frames spread evenly over the video; as many as fit are shown.
        title: heading; none by default.
        max_classes: number of classes shown at most: those of the reference first, then by best score.
        min_score: predictions below it are left out.
        top_k: number of predictions shown per class at most, the best ones.

    Raises:
        ValueError: when an array has the wrong shape or values, a label has no name, or a limit is not positive.
    """
    content = collect_timeline(
        prediction,
        duration=duration,
        label_names=label_names,
        reference=reference,
        attention=attention,
        class_scores=class_scores,
        curve_times=curve_times,
        max_classes=max_classes,
        min_score=min_score,
        top_k=top_k,
    )
    panels: list[Panel] = [(_rows_height(content), partial(_draw_segments, content=content))]
    if video_frames is not None:
        frames = _checked_frames(video_frames)
        panels.insert(0, (FRAMES_HEIGHT, partial(_draw_frames, frames=frames, duration=content.duration)))
    if content.attention is not None:
        panels.append((ATTENTION_HEIGHT, partial(_draw_attention, content=content)))
    if content.has_activations:
        height = max(ACTIVATION_HEIGHT, LEGEND_LINE_HEIGHT * len(content.rows))
        panels.append((height, partial(_draw_activations, content=content)))
    figure = new_figure(figsize=(FIGURE_WIDTH, HEAD_HEIGHT + _stack_height(panels)))
    _draw_head(figure, title, [content])
    _draw_stack(figure, panels, _time_label(content), left=0.0, top=HEAD_HEIGHT, width=FIGURE_WIDTH)
    return figure


def draw_timelines(
    predictions: Mapping[str, Mapping[str, Any]],
    *,
    durations: Mapping[str, float],
    label_names: LabelNames,
    references: Mapping[str, Mapping[str, Any]] | None = None,
    title: str | None = None,
    columns: int = 1,
    max_classes: int | None = 3,
    min_score: float | None = None,
    top_k: int | None = 200,
) -> "Figure":
    """Draw the segments of several videos on one sheet, each video under its id with its own time axis.

    Args:
        predictions: for each video id what `draw_timeline` takes as `prediction`; videos keep this order.
        durations: seconds of each video.
        label_names: class names by id.
        references: true segments of the videos that have any.
        title: heading of the sheet.
        columns: number of videos side by side, at most `MAX_COLUMNS`.
        max_classes: as in `draw_timeline`, for each video.
        min_score: as in `draw_timeline`.
        top_k: as in `draw_timeline`, for each class of a video.

    Raises:
        ValueError: when there is no video or one has no duration, or as `draw_timeline`, naming the video.
    """
    if not predictions:
        raise ValueError("predictions is empty: a sheet of timelines needs at least one video")
    if not 1 <= columns <= MAX_COLUMNS:
        raise ValueError(f"columns must be from 1 to {MAX_COLUMNS}, got {columns}")
    contents = []
    for video_id, prediction in predictions.items():
        if video_id not in durations:
            raise ValueError(f"durations has no entry for the video {video_id!r}")
        try:
            content = collect_timeline(
                prediction,
                duration=durations[video_id],
                label_names=label_names,
                reference=None if references is None else references.get(video_id),
                max_classes=max_classes,
                min_score=min_score,
                top_k=top_k,
            )
        except ValueError as error:
            raise ValueError(f"video {video_id!r}: {error}") from error
        contents.append((video_id, content))

    lines = [contents[first : first + columns] for first in range(0, len(contents), columns)]
    row_heights = [max(_rows_height(content) for _, content in line) for line in lines]
    line_height = CAPTION_HEIGHT + TIME_AXIS_HEIGHT
    figure = new_figure(figsize=(FIGURE_WIDTH, HEAD_HEIGHT + sum(row_heights) + len(lines) * line_height))
    _draw_head(figure, title, [content for _, content in contents])
    top, width = HEAD_HEIGHT, FIGURE_WIDTH / columns
    for line, row_height in zip(lines, row_heights, strict=True):
        for column, (video_id, content) in enumerate(line):
            panel = (_rows_height(content), partial(_draw_segments, content=content, video_id=video_id))
            _draw_stack(figure, [panel], _time_label(content), left=column * width, top=top, width=width)
        top += row_height + line_height
    return figure


def _rows_height(content: TimelineContent) -> float:
    return ROW_HEIGHT * max(1, len(content.rows))


def _stack_height(panels: Sequence[Panel]) -> float:
    return sum(CAPTION_HEIGHT + height for height, _ in panels) + TIME_AXIS_HEIGHT


def _draw_stack(
    figure: "Figure", panels: Sequence[Panel], time_label: str, *, left: float, top: float, width: float
) -> None:
    """Draw panels from `top` downwards on one time axis, which the last panel labels; lengths in inches."""
    from matplotlib.ticker import MaxNLocator

    figure_width, figure_height = figure.get_size_inches()
    axes = None
    for height, draw in panels:
        top += CAPTION_HEIGHT + height
        box = (
            (left + NAMES_WIDTH) / figure_width,
            (figure_height - top) / figure_height,
            (width - NAMES_WIDTH - RIGHT_MARGIN) / figure_width,
            height / figure_height,
        )
        axes = figure.add_axes(box, sharex=axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=SMALL, labelbottom=False)
        draw(axes)
    axes.tick_params(labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=int(1.2 * width), steps=[1, 2, 5, 10]))
    axes.set_xlabel(time_label, fontsize=SMALL)


def _draw_head(figure: "Figure", title: str | None, contents: Sequence[TimelineContent]) -> None:
    """Title on the left, legend on the right."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    top = 1 - 0.12 / figure.get_figheight()
    if title:
        short = _plain(_cut(title, 64))
        figure.text(0.15 / FIGURE_WIDTH, top, short, va="top", fontsize=13, fontweight="bold")
    entries = {"predicted (taller = higher score)": tuple(Patch(color=color, alpha=0.6) for color in PALETTE[:3])}
    if any(content.reference is not None for content in contents):
        entries["ground truth"] = Patch(color=REFERENCE_COLOR)
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="upper right",
        bbox_to_anchor=(1 - RIGHT_MARGIN / FIGURE_WIDTH, top),
        ncols=2,
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.0,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )


def _draw_frames(axes: "Axes", frames: Sequence[np.ndarray], duration: float) -> None:
    """Frames side by side, undistorted, each centred on its share of the time axis."""
    height, width = frames[0].shape[:2]
    frame_width = FRAMES_HEIGHT * width / height
    count = min(len(frames), max(1, int(PANEL_WIDTH / (frame_width + 0.04))))
    chosen = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    half_width = 0.5 * duration * min(1.0, frame_width / PANEL_WIDTH)
    for position, index in enumerate(chosen):
        centre = (position + 0.5) * duration / count
        frame = reduced_picture(np.asarray(frames[index]), max(frame_width, FRAMES_HEIGHT))
        axes.imshow(frame, extent=(centre - half_width, centre + half_width, 0, 1), aspect="auto")
    axes.set(xlim=(0, duration), ylim=(0, 1), yticks=[])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)
    _caption(axes, "Video")


def _draw_segments(axes: "Axes", content: TimelineContent, video_id: str | None = None) -> None:
    """Bars of every class in a row of its own; `video_id` heads the panel on a sheet of several videos."""
    num_rows = max(1, len(content.rows))
    for index, row in enumerate(content.rows):
        floor = num_rows - 1 - index
        _draw_bars(axes, row.reference, REFERENCE_HEIGHT, floor + REFERENCE_FLOOR, content.duration, REFERENCE_COLOR)
        # Segments come best first, so that shorter bars are drawn over taller ones and none is hidden.
        heights = content.bar_heights(row.scores)
        fill = [(row.color, opacity) for opacity in bar_opacity(heights)]
        bar_heights = PREDICTION_HEIGHT * heights
        _draw_bars(
            axes, row.segments, bar_heights, floor + PREDICTION_FLOOR, content.duration, row.color, facecolor=fill
        )
        axes.axhline(floor, color="0.8", linewidth=0.6, zorder=0)
    names = [textwrap.fill(_cut(row.name, 44), 22) for row in content.rows]
    axes.set(xlim=(0, content.duration), ylim=(0, num_rows))
    axes.set_yticks(num_rows - 0.5 - np.arange(len(names)), map(_plain, names), fontsize=SMALL)
    axes.tick_params(axis="y", length=0)

    heading = "Actions" if video_id is None else f"{video_id} ({content.duration:.4g} s)"
    _caption(axes, f"{heading}: {_summary_of_scores(content)}{_summary_of_references(content)}")


def _draw_bars(
    axes: "Axes", segments: np.ndarray, heights: Any, floor: float, duration: float, color: str, **style: Any
) -> None:
    segments = np.clip(segments, 0, duration)
    lengths = segments[:, 1] - segments[:, 0]
    style = {"color": color} | style
    axes.bar(segments[:, 0], heights, lengths, bottom=floor, align="edge", edgecolor=color, linewidth=0.8, **style)


def _draw_attention(axes: "Axes", content: TimelineContent) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.fill_between(content.curve_times, content.attention, color=ATTENTION_COLOR, alpha=0.2, linewidth=0)
    axes.plot(content.curve_times, content.attention, color=ATTENTION_COLOR, linewidth=1.2)
    for start, end in () if content.reference is None else content.reference:
        axes.axvspan(start, end, color=REFERENCE_COLOR, alpha=0.1, linewidth=0)
    axes.set_ylim(min(0.0, content.attention.min()), max(1.0, content.attention.max()))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=2))
    shaded = "" if content.reference is None else "; shaded: ground truth"
    _caption(axes, f"Attention: how strongly the model sees some action, whichever it is{shaded}")


def _draw_activations(axes: "Axes", content: TimelineContent) -> None:
    from matplotlib.ticker import MaxNLocator

    for index, row in enumerate(content.rows):
        axes.plot(
            content.curve_times,
            row.activation,
            color=row.color,
            linestyle=LINE_STYLES[(index // len(PALETTE)) % len(LINE_STYLES)],
            linewidth=1.2,
            label=_plain(_cut(row.name, 17)),
        )
    axes.set_ylim(bottom=min(0.0, *(row.activation.min() for row in content.rows)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.legend(
        loc="center left",
        bbox_to_anchor=(-(NAMES_WIDTH - 0.1) / PANEL_WIDTH, 0.5),
        fontsize=SMALL - 1,
        frameon=False,
        borderaxespad=0.0,
        handlelength=1.4,
    )
    _caption(axes, "Class activation: how strongly the model sees each of these actions")


def _caption(axes: "Axes", text: str) -> None:
    axes.set_title(_plain(text), loc="left", fontsize=SMALL, pad=3)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _plain(text: str) -> str:
    """Keep matplotlib from reading a formula into names that hold `$`."""
    return text.replace("$", r"\$")


def _time_label(content: TimelineContent) -> str:
    """Label of the time axis; a second line says what `max_classes`, `min_score` and `top_k` leave out."""
    left_out = []
    if 0 < content.num_shown_predictions < content.num_predictions:
        left_out.append(f"{content.num_shown_predictions} of {content.num_predictions} predictions")
    if 0 < len(content.rows) < content.num_classes:
        left_out.append(f"{len(content.rows)} of {content.num_classes} classes")
    return "time in seconds" + (f"\n({' and '.join(left_out)} shown)" if left_out else "")


def _summary_of_scores(content: TimelineContent) -> str:
    if content.best_score is not None:
        return f"best score {content.best_score:.2f}"
    if content.num_predictions == 0:
        return "no action predicted"
    return f"none of the {content.num_predictions} predictions reaches the lowest score to show"


def _summary_of_references(content: TimelineContent) -> str:
    shown = 0 if content.reference is None else len(content.reference)
    return f"; the first {shown} of {content.num_references} true segments" if shown < content.num_references else ""


def _checked_frames(video_frames: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    frames = [np.asarray(frame) for frame in video_frames]
    if not frames:
        raise ValueError("video_frames is empty; leave it out to draw no frames")
    for index, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"video_frames[{index}] must be (H, W, 3) uint8 RGB, got {frame.shape} {frame.dtype}")
    return frames
