"""Detections and annotations at the key times of a video as tubes over numbered frames, for the video-mAP."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics.tube_linking import LinkingRules

# ACT's shortest tube and longest gap are 15 and 5 frames, of videos with 25 frames a second.
SHORTEST_SECONDS, LONGEST_GAP_SECONDS = 0.6, 0.2


def frame_spacing(timestamps: np.ndarray) -> float:
    """Give the seconds from one frame to the next: the least distance of two of the (K,) ascending key times, or 1."""
    distances = np.diff(timestamps)
    return float(distances.min()) if len(distances) else 1.0


def frame_numbers(timestamps: np.ndarray) -> np.ndarray:
    """Number key times (K,) by their distance from the first in `frame_spacing`; gaps are counted."""
    return np.round((timestamps - timestamps[:1]) / frame_spacing(timestamps)).astype(np.int64)


def rules_for(timestamps: np.ndarray, *, inclusive: bool) -> LinkingRules:
    """Give ACT's rules of linking with its shortest tube and longest gap in frames of this spacing."""
    spacing = frame_spacing(timestamps)
    return LinkingRules(
        shortest=max(1, round(SHORTEST_SECONDS / spacing)),
        longest_gap=max(1, round(LONGEST_GAP_SECONDS / spacing)),
        inclusive=inclusive,
    )


def tubelets_of(
    detections: Sequence[Mapping[str, Any]], timestamps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give what a detector found in one video as tubelets over its numbered frames.

    A detection with `tubes` and `tube_times` covers all frames within these times, with its boxes interpolated; others
    cover the frame of their key time.

    Args:
        detections: of `detect_actions`, one for each key time.
        timestamps: the K key times, ascending.

    Returns:
        boxes (M, L, 4), scores (M, C) and first frames (M,), as `link_tubelets` takes them.
    """
    spacing, numbers = frame_spacing(timestamps), frame_numbers(timestamps)
    offsets = _covered_offsets(detections, spacing)
    boxes = [
        _boxes_at(found, found["timestamp"] + spacing * offsets)
        if "tubes" in found
        else np.repeat(np.asarray(found["boxes"])[:, None], len(offsets), axis=1)
        for found in detections
    ]
    counts = [len(found["boxes"]) for found in detections]
    num_classes = max((np.shape(found["scores"])[1] for found in detections), default=0)
    return (
        np.concatenate([np.empty((0, len(offsets), 4)), *boxes]),
        np.concatenate([np.empty((0, num_classes)), *(found["scores"] for found in detections)]),
        np.repeat(numbers + offsets[0], counts),
    )


def _covered_offsets(detections: Sequence[Mapping[str, Any]], spacing: float) -> np.ndarray:
    """Frames that every tubelet covers, counted from its key time."""
    reaches = [
        min(found["timestamp"] - found["tube_times"][0], found["tube_times"][-1] - found["timestamp"])
        for found in detections
        if "tubes" in found
    ]
    # A frame that begins at the very end of the boxes' times is covered, whatever the rounding.
    reach = max(0, int((min(reaches) + 1e-6) // spacing)) if len(reaches) == len(detections) and reaches else 0
    return np.arange(-reach, reach + 1)


def _boxes_at(found: Mapping[str, Any], times: np.ndarray) -> np.ndarray:
    """Interpolate tubes (N, T, 4) at `times` (L,); before the first and after the last box they stand still."""
    tubes, known = np.asarray(found["tubes"], np.float64), np.asarray(found["tube_times"], np.float64)
    if len(known) == 1:
        return np.repeat(tubes, len(times), axis=1)
    after = np.clip(np.searchsorted(known, times, side="right"), 1, len(known) - 1)
    part = np.clip((times - known[after - 1]) / (known[after] - known[after - 1]), 0, 1)[:, None]
    return tubes[:, after - 1] * (1 - part) + tubes[:, after] * part


def annotated_tubes(rows: Sequence[Mapping[str, Any]], timestamps: np.ndarray) -> list[dict[str, Any]]:
    """Join the annotations of one video's rows to tubes: what one person does, from one beginning on.

    Args:
        rows: of the corpus, with `boxes`, `labels` and `actor_ids`, and `starts` where the corpus has them.
        timestamps: of the rows, ascending.

    Returns:
        For each tube `label`, `frames` (n,) and `boxes` (n, 4).
    """
    tubes: dict[tuple[Any, ...], list[tuple[int, Any]]] = {}
    for number, row in zip(frame_numbers(timestamps).tolist(), rows, strict=True):
        starts = row.get("starts") or [None] * len(row["boxes"])
        for actor, start, box, labels in zip(row["actor_ids"], starts, row["boxes"], row["labels"], strict=True):
            for label in labels:
                tubes.setdefault((actor, label, start), []).append((number, box))
    return [
        {
            "label": label,
            "frames": np.array([number for number, _ in boxes]),
            "boxes": np.array([box for _, box in boxes], dtype=np.float64),
        }
        for (_, label, _), boxes in tubes.items()
    ]
