"""What a timeline shows of one video: checked arrays, the classes and segments chosen, and how scores become heights.

Shared by the picture (`timelines.py`) and the page (`timeline_page.py`); holds no drawing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Okabe and Ito's palette, safe for the common colour vision deficiencies, without its black and its pale yellow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REFERENCE_COLOR = "#333333"
ATTENTION_COLOR = "#6B4C9A"
LOWEST_BAR_HEIGHT = 0.12
# Segments below this share of a video's best score would hide the good ones.
CLEAR_SHARE = 0.5
NUM_FALLBACK_CLASSES = 3
# More true segments than these take minutes to draw and cannot be told apart.
MOST_REFERENCES = 500

LabelNames = Sequence[str] | Mapping[int, str]


@dataclass(frozen=True)
class TimelineRow:
    """One class of a timeline.

    Attributes:
        label: class id.
        name: class name.
        color: `#RRGGBB`.
        reference: `(M, 2)` true segments in seconds, by start time.
        segments: `(N, 2)` predicted segments in seconds, by descending score.
        scores: `(N,)` their scores.
        activation: `(T,)` class activation sequence at the timeline's `curve_times`, or `None`.
    """

    label: int
    name: str
    color: str
    reference: np.ndarray
    segments: np.ndarray
    scores: np.ndarray
    activation: np.ndarray | None


@dataclass(frozen=True)
class TimelineContent:
    """Everything that a timeline of one video shows.

    Attributes:
        duration: length of the video in seconds.
        rows: the shown classes: those of the reference first, each group by its best score.
        reference: `(M, 2)` true segments of all classes in seconds, at most the first `MOST_REFERENCES`; `None` where
            none was given.
        num_references: number of true segments given, shown or not.
        num_predictions: number of predictions given, shown or not.
        num_classes: number of classes with a prediction or a reference, shown or not.
        curve_times: `(T,)` seconds of the curves' values, or `None` without curves.
        attention: `(T,)` foreground attention, or `None`.
    """

    duration: float
    rows: tuple[TimelineRow, ...]
    reference: np.ndarray | None
    num_references: int
    num_predictions: int
    num_classes: int
    curve_times: np.ndarray | None
    attention: np.ndarray | None

    @property
    def num_shown_predictions(self) -> int:
        """Number of predictions in `rows`."""
        return sum(len(row.segments) for row in self.rows)

    @property
    def has_activations(self) -> bool:
        """Whether the rows hold class activation sequences."""
        return any(row.activation is not None for row in self.rows)

    @property
    def best_score(self) -> float | None:
        """Highest score shown, or `None` without predictions."""
        return max((float(row.scores[0]) for row in self.rows if len(row.scores)), default=None)

    def bar_heights(self, scores: np.ndarray) -> np.ndarray:
        """Heights in (0, 1] of the bars of `scores` `(N,)`: 1 is the best score shown, 0 the score 0.

        Where scores are negative the lowest one shown takes the place of 0. Bars stay visible: no height is below
        `LOWEST_BAR_HEIGHT`.
        """
        lowest = min((float(row.scores[-1]) for row in self.rows if len(row.scores)), default=0.0)
        lowest, best = min(0.0, lowest), self.best_score or 0.0
        if best <= lowest:
            return np.ones(len(scores))
        return np.clip((scores - lowest) / (best - lowest), LOWEST_BAR_HEIGHT, 1.0)


def bar_opacity(heights: np.ndarray | float) -> np.ndarray | float:
    """Opacity of bars of these heights: low scores are paler too, so that many of them do not hide the high ones."""
    return 0.1 + 0.35 * heights


def collect_timeline(
    prediction: Mapping[str, Any],
    *,
    duration: float,
    label_names: LabelNames,
    reference: Mapping[str, Any] | None = None,
    attention: Any = None,
    class_scores: Any = None,
    curve_times: Any = None,
    max_classes: int | None = None,
    min_score: float | None = None,
    top_k: int | None = None,
    row_colours: Sequence[str] | None = None,
) -> TimelineContent:
    """Check one video's results and choose what a timeline shows of them.

    Classes are those with a shown prediction or a reference. Where there is none of either, the
    `NUM_FALLBACK_CLASSES` classes with the highest activation stand in, so that curves are still readable.

    Args:
        prediction: `segments` `(N, 2)` in seconds, `scores` `(N,)`, `labels` `(N,)`, in any order.
        duration: length of the video in seconds.
        label_names: class names by id.
        reference: `segments` `(M, 2)` in seconds and `labels` `(M,)`.
        attention: `(T,)` foreground attention.
        class_scores: `(T, num_labels)` class activation sequence; one further last column (background) is left out.
        curve_times: `(T,)` seconds of the curves' values; by default the centres of T equal parts of the video.
        max_classes: number of classes shown at most; classes of the reference come first, then the best scores.
        min_score: predictions below it are left out.
        top_k: number of predictions shown per class at most, the best ones.
        row_colours: colour of each class, by id; rows then stand in the order of the ids.

    Raises:
        ValueError: when an array has the wrong shape or values, a label has no name, or a limit is not positive.
    """
    if not np.isfinite(duration) or duration <= 0:
        raise ValueError(f"duration must be a positive number of seconds, got {duration}")
    for limit_name, limit in (("max_classes", max_classes), ("top_k", top_k)):
        if limit is not None and limit < 1:
            raise ValueError(f"{limit_name} must be at least 1, or None for no limit, got {limit}")
    names = _names_by_label(label_names)
    segments, labels = _checked_segments(prediction, "prediction", names)
    scores = _checked_array(prediction["scores"], "prediction['scores']", (len(segments),))
    reference_segments, reference_labels = np.zeros((0, 2)), np.zeros(0, dtype=np.int64)
    if reference is not None:
        reference_segments, reference_labels = _checked_segments(reference, "reference", names)
    num_references = len(reference_segments)
    first = np.sort(np.argsort(reference_segments[:, 0], kind="stable")[:MOST_REFERENCES])
    reference_segments, reference_labels = reference_segments[first], reference_labels[first]
    attention, class_scores, curve_times = _checked_curves(attention, class_scores, curve_times, duration, names)

    order = np.argsort(-scores, kind="stable")
    if min_score is not None:
        order = order[scores[order] >= min_score]
    labels_by_score = labels[order].tolist()
    true_classes = set(reference_labels.tolist())
    classes = [*dict.fromkeys(labels_by_score), *sorted(true_classes.difference(labels_by_score))]
    classes.sort(key=lambda label: label not in true_classes)
    if row_colours is not None:
        classes.sort()
    shown_classes = classes[:max_classes]
    if not classes and class_scores is not None:
        strongest = np.argsort(-class_scores.max(axis=0), kind="stable")[:NUM_FALLBACK_CLASSES]
        shown_classes = strongest.tolist()[:max_classes]

    rows = []
    for position, label in enumerate(shown_classes):
        chosen = order[labels[order] == label][:top_k]
        true_segments = reference_segments[reference_labels == label]
        rows.append(
            TimelineRow(
                label=label,
                name=names[label],
                color=PALETTE[position % len(PALETTE)] if row_colours is None else row_colours[label],
                reference=true_segments[np.argsort(true_segments[:, 0], kind="stable")],
                segments=segments[chosen],
                scores=scores[chosen],
                activation=None if class_scores is None else class_scores[:, label],
            )
        )
    return TimelineContent(
        duration=float(duration),
        rows=tuple(rows),
        reference=None if reference is None else reference_segments,
        num_references=num_references,
        num_predictions=len(segments),
        num_classes=len(set(labels.tolist()) | true_classes),
        curve_times=curve_times,
        attention=attention,
    )


def _names_by_label(label_names: LabelNames) -> dict[int, str]:
    pairs = label_names.items() if isinstance(label_names, Mapping) else enumerate(label_names)
    names = {int(label): str(name) for label, name in pairs}
    if sorted(names) != list(range(len(names))) or not names:
        raise ValueError(
            f"label_names must name the class ids 0, 1, 2, ... without a gap, got the ids {sorted(names)}"
        )
    return names


def _checked_array(values: Any, what: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """`values` as finite float64 of `shape`, where `None` stands for any size."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 and 0 in [size or 0 for size in shape]:
        array = array.reshape([size or 0 for size in shape])
    expected = tuple("any" if size is None else size for size in shape)
    if array.ndim != len(shape) or any(size not in (None, got) for size, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{what} must have the shape {expected}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinite values; a timeline needs finite ones")
    return array


def _checked_segments(source: Mapping[str, Any], what: str, names: Mapping[int, str]) -> tuple[np.ndarray, np.ndarray]:
    missing = [
        key for key in ("segments", "labels", "scores")[: 3 if what == "prediction" else 2] if key not in source
    ]
    if missing:
        raise ValueError(f"{what} has no {missing[0]!r}; it holds {sorted(source)}")
    segments = _checked_array(source["segments"], f"{what}['segments']", (None, 2))
    labels = _checked_array(source["labels"], f"{what}['labels']", (len(segments),)).astype(np.int64)
    backwards = np.flatnonzero(segments[:, 1] < segments[:, 0])
    if len(backwards):
        start, end = segments[backwards[0]]
        raise ValueError(f"{what}['segments'][{backwards[0]}] ends at {end:g} s, before its start at {start:g} s")
    unnamed = sorted(set(labels.tolist()).difference(names))
    if unnamed:
        raise ValueError(f"{what} has the label {unnamed[0]}, but label_names names only 0 to {len(names) - 1}")
    return segments, labels


def _checked_curves(
    attention: Any, class_scores: Any, curve_times: Any, duration: float, names: Mapping[int, str]
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    if attention is not None:
        attention = _checked_array(attention, "attention", (None,))
    if class_scores is not None:
        class_scores = _checked_array(class_scores, "class_scores", (None, None))
        if class_scores.shape[1] not in (len(names), len(names) + 1):
            raise ValueError(
                f"class_scores has {class_scores.shape[1]} columns, expected one for each of the {len(names)} "
                "label_names, or one more for the background"
            )
        class_scores = class_scores[:, : len(names)]
    curves = {"attention": attention, "class_scores": class_scores}
    lengths = {name: len(curve) for name, curve in curves.items() if curve is not None}
    if not lengths:
        return None, None, None
    length = next(iter(lengths.values()))
    if length == 0 or set(lengths.values()) != {length}:
        raise ValueError(f"the curves must have the same positive number of values, got {lengths}")
    if curve_times is None:
        curve_times = (np.arange(length) + 0.5) * duration / length
    return attention, class_scores, _checked_array(curve_times, "curve_times", (length,))
