"""From the curves of a network to scored segments: multi-threshold proposals with an outer-inner contrast (ASM-Loc).

Each stage thresholds one curve (the class activation sequence, CAS, or the attention) at several values. Each run over
a threshold is a candidate, scored by the mean of a curve inside it minus the mean just outside. Overlapping candidates
of a class are then suppressed. Facts are those of the official code at commit 4acb3c86c5ec.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .segment_nms import segment_nms
from .snippet_sampling import TimeWarp, upsample_curves

# The suppression measures lengths in seconds as if these were pixels, end - start + 1.
NMS_LENGTH_OFFSET = 1.0


def localize_segments(
    class_scores: np.ndarray,
    cas: np.ndarray,
    attention: np.ndarray,
    num_features: int,
    *,
    stages: Sequence[Mapping[str, Any]],
    class_threshold: float,
    upsample_scale: int,
    feature_anchor: float = 0.0,
    nms_threshold: float,
    frames_per_second: float,
    frames_per_snippet: int,
    warp: TimeWarp | None = None,
) -> dict[str, np.ndarray]:
    """Turn one video's network outputs into scored segments.

    Args:
        class_scores: (K + 1,) video-level scores, background last.
        cas: (T, K + 1) class activation sequence after attention and softmax, T >= 2.
        attention: (T,) foreground attention.
        num_features: feature rows L of the video before sampling.
        stages: dicts with `source` ("cas" or "attention"), `thresholds`, `cas_weight`, `attention_weight`,
            `outer_ratio` and `class_score_weight`, see `AsmLocConfig.test_stages`.
        class_threshold: classes scoring above it are localised; the best one when none does.
        upsample_scale: points per snippet at which the curves are thresholded.
        feature_anchor: where in the time of a feature row its value stands, 0 (its start) to 1.
        nms_threshold: overlap from which a lower-scored segment of the same class is dropped.
        frames_per_second: frame rate of the features.
        frames_per_snippet: frames from one feature row to the next.
        warp: the time warp that the snippets were sampled through, if any.

    Returns:
        `segments` (N, 2) float64 seconds, `scores` (N,) float64 (may be negative), `labels` (N,) int64; class by class
        in the order in which the thresholds first met them, inside a class by descending score.

    Raises:
        ValueError: shapes that do not fit together.
    """
    candidates = candidate_segments(
        class_scores,
        cas,
        attention,
        num_features,
        stages=stages,
        class_threshold=class_threshold,
        upsample_scale=upsample_scale,
        feature_anchor=feature_anchor,
        frames_per_second=frames_per_second,
        frames_per_snippet=frames_per_snippet,
        warp=warp,
    )
    labels, first_seen = np.unique(candidates["labels"], return_index=True)
    kept = [np.zeros(0, dtype=np.int64)]
    for label in labels[np.argsort(first_seen)]:
        members = np.flatnonzero(candidates["labels"] == label)
        segments, scores = (torch.from_numpy(candidates[name][members]) for name in ("segments", "scores"))
        survivors = segment_nms(segments, scores, nms_threshold, length_offset=NMS_LENGTH_OFFSET)
        kept.append(members[survivors.numpy()])
    return {name: values[np.concatenate(kept)] for name, values in candidates.items()}


def candidate_segments(
    class_scores: np.ndarray,
    cas: np.ndarray,
    attention: np.ndarray,
    num_features: int,
    *,
    stages: Sequence[Mapping[str, Any]],
    class_threshold: float,
    upsample_scale: int,
    feature_anchor: float = 0.0,
    frames_per_second: float,
    frames_per_snippet: int,
    warp: TimeWarp | None = None,
) -> dict[str, np.ndarray]:
    """Give all candidates before suppression; arguments and errors as `localize_segments`.

    Returns:
        `segments`, `scores` and `labels` as `localize_segments`, ordered by stage, threshold, class and start.
    """
    class_scores, cas, attention = _checked_outputs(class_scores, cas, attention, num_features)
    classes = chosen_classes(class_scores, class_threshold)
    # A snippet is one row of the many that it stands for, the first.
    anchor = feature_anchor * len(cas) / (num_features if warp is None else warp.num_warped)
    curves = upsample_curves(np.column_stack([cas[:, classes], attention]), upsample_scale, anchor).T
    cas_curves, attention_curve = _Curves.of(curves[:-1]), _Curves.of(curves[-1:])
    batches = [_stage_candidates(stage, cas_curves, attention_curve, class_scores[classes]) for stage in stages]

    duration = frames_per_snippet * num_features / frames_per_second
    segments = np.concatenate([batch.bounds for batch in batches]) * (duration / curves.shape[1])
    if warp is not None:
        segments = warp.to_original_seconds(segments, duration)
    return {
        "segments": segments,
        "scores": np.concatenate([batch.scores for batch in batches]),
        "labels": classes[np.concatenate([batch.classes for batch in batches])],
    }


def chosen_classes(class_scores: np.ndarray, class_threshold: float) -> np.ndarray:
    """Give the indices (Kc,) of the classes to localise: those above the threshold, or else the best one.

    Args:
        class_scores: (K + 1,) float32 video-level scores, background last.
        class_threshold: compared in float32, as the official code does.
    """
    action_scores = class_scores[:-1]
    above = np.flatnonzero(action_scores > np.float32(class_threshold))
    return above if len(above) else np.array([action_scores.argmax()])


@dataclass(frozen=True, eq=False)
class _Curves:
    """Up-sampled curves (K, Lu) and the sums (K, Lu + 1) of their points before each position."""

    values: np.ndarray
    sums: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "_Curves":
        values = np.ascontiguousarray(values)
        sums = np.zeros((values.shape[0], values.shape[1] + 1))
        np.cumsum(values, axis=1, out=sums[:, 1:])
        return cls(values, sums)

    def sum_between(self, curve: np.ndarray, begin: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Sum the points [begin, stop) of the given curves, all (N,)."""
        return self.sums[curve, stop] - self.sums[curve, begin]


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Candidates of one stage, ordered by threshold, class and start.

    Attributes:
        bounds: (N, 2) the first point inside and the first one after, in points of the up-sampled curves.
        scores: (N,) float64.
        classes: (N,) indices into the chosen classes.
    """

    bounds: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def _stage_candidates(
    stage: Mapping[str, Any], cas: _Curves, attention: _Curves, class_scores: np.ndarray
) -> _Candidates:
    """Threshold and score the curves of the chosen classes, which score (Kc,), and the attention that they share."""
    from_cas = stage["source"] == "cas"
    source, other = (cas, attention) if from_cas else (attention, cas)
    weights = stage["cas_weight"], stage["attention_weight"]
    source_weight, other_weight = weights if from_cas else weights[::-1]

    runs = _Runs.above(source, np.asarray(stage["thresholds"], dtype=np.float64))
    run, source_curve, classes = _pair_with_classes(runs, len(cas.values), each_curve_is_a_class=from_cas)
    other_curve = np.zeros_like(classes) if from_cas else classes

    begin, stop = runs.begins[run], runs.stops[run]
    length = stop - begin
    outer_begin = np.maximum(np.trunc(begin - stage["outer_ratio"] * length), 0).astype(np.int64)
    outer_stop = np.trunc(stop - 1 + stage["outer_ratio"] * length).astype(np.int64) + 1
    outer_stop = np.minimum(outer_stop, source.values.shape[1])
    outer_length = (begin - outer_begin) + (outer_stop - stop)

    # Outside the run the source curve counts where it is over the threshold too, the other curve everywhere.
    inner = source_weight * source.sum_between(source_curve, begin, stop)
    outer = source_weight * runs.sum_around(run, outer_begin, outer_stop)
    if other_weight:
        around = other.sum_between(other_curve, outer_begin, begin) + other.sum_between(other_curve, stop, outer_stop)
        inner += other_weight * other.sum_between(other_curve, begin, stop)
        outer += other_weight * around
    scores = inner / length - outer / np.maximum(outer_length, 1)
    scores += stage["class_score_weight"] * class_scores[classes].astype(np.float64)
    return _Candidates(np.stack([begin, stop], axis=1), scores, classes)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Maximal runs of points on or over a threshold, for every threshold and every source curve, in this order.

    Attributes:
        source: the Ks curves.
        thresholds: (R,) index of the threshold of each run.
        curves: (R,) index of its curve.
        begins: (R,) first point inside.
        stops: (R,) first point after.
        keys: (R,) rank of `begins` over all thresholds and curves, ascending.
        sums_before: (R + 1,) sum of the curves over all earlier runs.
    """

    source: _Curves
    thresholds: np.ndarray
    curves: np.ndarray
    begins: np.ndarray
    stops: np.ndarray
    keys: np.ndarray
    sums_before: np.ndarray

    @classmethod
    def above(cls, source: _Curves, thresholds: np.ndarray) -> "_Runs":
        """Find the runs of the source curves over each of `thresholds` (H,)."""
        num_curves, num_points = source.values.shape
        inside = np.zeros((len(thresholds), num_curves, num_points + 2), dtype=bool)
        np.greater_equal(source.values[None], thresholds[:, None, None], out=inside[:, :, 1:-1])
        # Every row begins and ends outside, so its changes alternate between a begin and a stop.
        changes = np.flatnonzero(inside[:, :, 1:] != inside[:, :, :-1])
        keys = changes[::2]
        rows, begins = np.divmod(keys, num_points + 1)
        stops = changes[1::2] - rows * (num_points + 1)
        threshold_indices, curves = np.divmod(rows, num_curves)
        sums_before = np.concatenate([[0.0], np.cumsum(source.sum_between(curves, begins, stops))])
        return cls(source, threshold_indices, curves, begins, stops, keys, sums_before)

    def sum_around(self, run: np.ndarray, begin: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Sum the thresholded curve over [begin, first point of the run) and [after the run, stop), each (N,)."""
        before = self.sums_before[run] - self._sum_before(run, begin)
        after = self._sum_before(run, stop) - self.sums_before[run + 1]
        return before + after

    def _sum_before(self, run: np.ndarray, point: np.ndarray) -> np.ndarray:
        """Sum all earlier rows' runs and what lies before `point` (N,) in the row of `run` (N,)."""
        rank = np.searchsorted(self.keys, self.keys[run] - self.begins[run] + point)
        last = np.maximum(rank - 1, 0)
        same_row = (self.thresholds[last] == self.thresholds[run]) & (self.curves[last] == self.curves[run])
        cut = (rank > 0) & same_row & (self.stops[last] > point)
        beyond = self.source.sum_between(self.curves[run], point, self.stops[last])
        return self.sums_before[rank] - np.where(cut, beyond, 0)


def _pair_with_classes(
    runs: _Runs, num_classes: int, *, each_curve_is_a_class: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Name the run, its curve and the class of every candidate, each (N,), ordered by threshold, class and start.

    A curve shared by all classes gives every class the same runs. Runs of a single point are no candidates.
    """
    run = np.flatnonzero(runs.stops - runs.begins >= 2)
    if each_curve_is_a_class:
        return run, runs.curves[run], runs.curves[run]
    classes = np.repeat(np.arange(num_classes), len(run))
    run = np.tile(run, num_classes)
    by_threshold = np.argsort(runs.thresholds[run], kind="stable")
    run, classes = run[by_threshold], classes[by_threshold]
    return run, runs.curves[run], classes


def _checked_outputs(
    class_scores: np.ndarray, cas: np.ndarray, attention: np.ndarray, num_features: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    class_scores, cas, attention = np.asarray(class_scores, dtype=np.float32), np.asarray(cas), np.asarray(attention)
    if cas.ndim != 2 or len(cas) < 2 or class_scores.shape != cas.shape[1:] or attention.shape != cas.shape[:1]:
        raise ValueError(
            "class_scores, cas and attention must have shapes (K + 1,), (T, K + 1) and (T,) with T >= 2, got "
            f"{class_scores.shape}, {cas.shape} and {attention.shape}"
        )
    if not (np.isfinite(class_scores).all() and np.isfinite(cas).all() and np.isfinite(attention).all()):
        raise ValueError("class_scores, cas and attention must be finite, got NaN or infinity: the network diverged")
    if num_features < 1:
        raise ValueError(f"num_features must be 1 or more, got {num_features}")
    return class_scores, cas, attention
