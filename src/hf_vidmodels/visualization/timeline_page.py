"""A web page of one video's predictions: the player, a timeline that seeks in it, and a table of segments.

The page is one file without network access: style, script and curves are inside; the video lies beside it or, when
asked for, inside too.
"""

import base64
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import jinja2
import numpy as np

from ..atomic_io import atomic_write
from .timeline_content import (
    ATTENTION_COLOR,
    CLEAR_SHARE,
    PALETTE,
    REFERENCE_COLOR,
    LabelNames,
    TimelineContent,
    TimelineRow,
    bar_opacity,
    collect_timeline,
)

# What common browsers play; whether they do depends on the codec too, which the page itself finds out.
PLAYABLE_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
}
MAX_EMBEDDED_BYTES = 64 * 2**20
NUM_MAJOR_TICKS, NUM_MINOR_PER_MAJOR = 8, 5
TICK_STEPS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


def write_timeline_page(
    path: str | os.PathLike[str],
    video_path: str | os.PathLike[str],
    prediction: Mapping[str, Any],
    *,
    duration: float,
    label_names: LabelNames,
    reference: Mapping[str, Any] | None = None,
    attention: Any = None,
    class_scores: Any = None,
    curve_times: Any = None,
    title: str | None = None,
    embed_video: bool = False,
    row_colours: Sequence[str] | None = None,
) -> Path:
    """Write a self-contained HTML page that plays `video_path` over a clickable timeline of its segments.

    A red cursor follows the player; a click on a segment, in the timeline or in the table, goes to its start; a click
    elsewhere on the timeline goes to that time. All predictions are in the page; it opens with those whose score is at
    least `CLEAR_SHARE` of the best one's, and a slider moves that threshold. For a format that browsers do not play
    (AVI, MKV, GIF ...) the page says so and its timeline works without the player; so does a page whose video is
    missing.

    Args:
        path: the page; an existing one is replaced.
        video_path: the video file; the page links to it relatively, so that both can move together, or holds it.
        prediction: `segments` `(N, 2)` in seconds, `scores` `(N,)`, `labels` `(N,)`; N may be 0.
        duration: length of the video in seconds.
        label_names: class names by id.
        reference: true `segments` `(M, 2)` in seconds and `labels` `(M,)`.
        attention: `(T,)` foreground attention.
        class_scores: `(T, num_labels)` class activation sequence; one further last column (background) is left out.
        curve_times: `(T,)` seconds of the curves' values; by default the centres of T equal parts of the video.
        title: heading; the file name of the video by default.
        embed_video: put the video into the page instead of linking to it (at most `MAX_EMBEDDED_BYTES`).
        row_colours: colour of each class, by id; the rows then stand in the order of the ids, not by score.

    Returns:
        `path`.

    Raises:
        FileNotFoundError: when there is no `video_path`.
        ValueError: when an array has the wrong shape or values, a label has no name, `video_path` is a folder or too
            large to embed, or `path` is the video itself.
        OSError: when the page cannot be written; nothing half-written is kept.
    """
    path, video_path = Path(path), Path(video_path)
    content = collect_timeline(
        prediction,
        duration=duration,
        label_names=label_names,
        reference=reference,
        attention=attention,
        class_scores=class_scores,
        curve_times=curve_times,
        row_colours=row_colours,
    )
    source = _video_source(path, video_path, embed_video)
    page = (
        _environment()
        .get_template("timeline.html")
        .render(
            title=title or video_path.name,
            video_name=video_path.name,
            video_source=source,
            linked_file=None if source is None or embed_video else unquote(source),
            **_page_values(content),
        )
    )
    with atomic_write(path, "w") as file:
        file.write(page)
    return path


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _video_source(path: Path, video_path: Path, embed_video: bool) -> str | None:
    """Address of the video for the page at `path`, or `None` when browsers do not play its format."""
    if not video_path.exists():
        raise FileNotFoundError(f"there is no video at {video_path}; a timeline page is written for an existing file")
    if video_path.is_dir():
        raise ValueError(f"{video_path} is a folder; a timeline page needs one video file, for example an .mp4")
    if path.exists() and path.samefile(video_path):
        raise ValueError(f"{path} is the video itself; choose another path for the page, for example ending in .html")
    media_type = PLAYABLE_TYPES.get(video_path.suffix.lower())
    if media_type is None:
        return None
    if not embed_video:
        # "./" keeps a file name with a colon from being read as an address scheme.
        relative = os.path.relpath(video_path.absolute(), path.absolute().parent)
        return "./" + quote(Path(relative).as_posix())
    size = video_path.stat().st_size
    if size > MAX_EMBEDDED_BYTES:
        raise ValueError(
            f"{video_path} has {size / 2**20:.0f} MiB, too much to embed (limit {MAX_EMBEDDED_BYTES // 2**20} MiB); "
            "link to it with embed_video=False"
        )
    return f"data:{media_type};base64,{base64.b64encode(video_path.read_bytes()).decode('ascii')}"


def _page_values(content: TimelineContent) -> dict[str, Any]:
    """The template's variables, without those of the video."""
    all_scores = np.concatenate([row.scores for row in content.rows] or [np.zeros(0)])
    activation_range = _value_range([row.activation for row in content.rows], at_least=0.0)
    rows = _rows(content, all_scores, activation_range)
    segments = [bar for row in rows for bar in row["reference"] + row["predicted"]]

    has_reference = content.reference is not None
    counts = [_count(len(all_scores), "predicted segment")]
    if has_reference:
        shown = len(content.reference)
        first = f", of which the first {shown} are shown" if shown < content.num_references else ""
        counts.append(_count(content.num_references, "true segment") + first)
    return {
        "summary": f"{_clock(content.duration)} long; {' and '.join(counts)}",
        "duration": content.duration,
        "duration_clock": _clock(content.duration),
        "start_clock": _clock(0.0),
        "has_reference": has_reference,
        "has_activations": content.has_activations,
        "segments": sorted(segments, key=lambda segment: (segment["start"], segment["end"])),
        "rows": rows,
        "attention": _curve(content, content.attention, _value_range([content.attention], at_least=1.0)),
        "activation_range": _range_in_words(activation_range),
        "ticks": _ticks(content.duration),
        "best_score": None if content.best_score is None else f"{content.best_score:.3g}",
        "rank_scores": [f"{score:.3g}" for score in np.sort(all_scores)[::-1]],
        "percent_shown_at_first": round(100 * CLEAR_SHARE),
        "palette": PALETTE,
        "reference_color": REFERENCE_COLOR,
        "attention_color": ATTENTION_COLOR,
    }


def _rows(
    content: TimelineContent, all_scores: np.ndarray, activation_range: tuple[float, float]
) -> list[dict[str, Any]]:
    """The classes with their bars and curves; predictions carry their rank in `all_scores`, 0 for the best."""
    ranks = np.empty(len(all_scores), dtype=np.int64)
    ranks[np.argsort(-all_scores, kind="stable")] = np.arange(len(all_scores))
    first_of_row = np.cumsum([0, *(len(row.scores) for row in content.rows)])
    rows = []
    for row, first in zip(content.rows, first_of_row[:-1], strict=True):
        row_ranks = ranks[first : first + len(row.scores)]
        reference = [
            _bar(content, row, segment, f"truth-{row.label}-{index}") for index, segment in enumerate(row.reference)
        ]
        heights = content.bar_heights(row.scores).tolist()
        predicted = [
            _bar(content, row, segment, f"prediction-{rank}", rank=rank, score=score, height=height)
            for segment, rank, score, height in zip(
                row.segments, row_ranks.tolist(), row.scores.tolist(), heights, strict=True
            )
        ]
        rows.append(
            {
                "name": row.name,
                "color": row.color,
                "reference": reference,
                "predicted": predicted,
                "activation": _curve(content, row.activation, activation_range),
            }
        )
    return rows


def _bar(
    content: TimelineContent,
    row: TimelineRow,
    segment: np.ndarray,
    identity: str,
    *,
    rank: int | None = None,
    score: float | None = None,
    height: float = 1.0,
) -> dict[str, Any]:
    """One segment as a bar and as a table row; without `rank` and `score` it is a true one."""
    start, end = segment.tolist()
    left, right = np.clip(segment, 0, content.duration) / content.duration
    score_text = "" if score is None else f"{score:.3g}"
    source = "ground truth" if score is None else f"score {score_text}"
    return {
        "id": identity,
        "start": round(start, 3),
        "end": round(end, 3),
        "start_clock": _clock(start),
        "end_clock": _clock(end),
        "length": f"{end - start:.1f} s",
        "name": row.name,
        "color": REFERENCE_COLOR if score is None else row.color,
        "score": score_text,
        "rank": rank,
        "hint": f"{row.name}, {_clock(start)} to {_clock(end)}, {source}",
        "left": round(100 * left, 4),
        "width": round(100 * (right - left), 4),
        "height": round(100 * height, 1),
        # The last two digits of #RRGGBBAA.
        "alpha": f"{round(255 * bar_opacity(height)):02x}",
    }


def _value_range(curves: Sequence[np.ndarray | None], at_least: float) -> tuple[float, float]:
    """Lowest and highest value of the curves, widened to hold 0 and `at_least`."""
    given = [curve for curve in curves if curve is not None]
    lowest = min([0.0, *(float(curve.min()) for curve in given)])
    return lowest, max([at_least, *(float(curve.max()) for curve in given)])


def _curve(
    content: TimelineContent, values: np.ndarray | None, value_range: tuple[float, float]
) -> dict[str, str] | None:
    """Points of a curve and of the area under it in a box of 1000 x 100, and its scale in words."""
    if values is None:
        return None
    lowest, highest = value_range
    x = 1000 * content.curve_times / content.duration
    y = 100 * (1 - (values - lowest) / max(highest - lowest, 1e-12))
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return {
        "line": line,
        "area": f"{x[0]:.1f},100 {line} {x[-1]:.1f},100",
        "range": _range_in_words(value_range),
    }


def _range_in_words(value_range: tuple[float, float]) -> str:
    lowest, highest = value_range
    return f"{lowest:.2g} to {highest:.2g}"


def _ticks(duration: float) -> list[dict[str, Any]]:
    """Labelled times of the ruler; minor ones show when zoomed in. None so late that its label would stick out."""
    fitting = (step for step in TICK_STEPS if duration / step <= NUM_MAJOR_TICKS)
    major = next(fitting, 3600 * math.ceil(duration / 3600 / NUM_MAJOR_TICKS))
    minor = major / NUM_MINOR_PER_MAJOR
    return [
        {
            "left": round(100 * index * minor / duration, 4),
            "clock": _clock(index * minor),
            "minor": index % NUM_MINOR_PER_MAJOR > 0,
        }
        for index in range(int(0.96 * duration / minor) + 1)
    ]


def _clock(seconds: float) -> str:
    """`m:ss.t`, or `h:mm:ss.t` from one hour on, as the page's script writes it."""
    tenths = math.floor(10 * abs(seconds) + 0.5)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    sign = "-" if seconds < 0 and tenths else ""
    late = f"{rest // 10:02d}.{rest % 10}"
    return f"{sign}{hours}:{minutes:02d}:{late}" if hours else f"{sign}{minutes}:{late}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
