"""The boxes of many frames in flat arrays, as the vectorised metrics read them, and their overlaps."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Detected or annotated boxes of many frames, one row for each box and class.

    Args:
        frame_ids: `(F,)` distinct names of the frames, such as (video, second); a frame may have no rows.
        frames: `(N,)` integers, the index of each row's frame in `frame_ids`.
        boxes: `(N, 4)` float64, xyxy, relative or in pixels.
        labels: `(N,)` integer class ids.
        scores: `(N,)` float64, or `None` for annotations.

    Raises:
        ValueError: shapes that do not fit, labels that are no integers, or boxes and scores that are not finite.
    """

    frame_ids: Sequence[Hashable]
    frames: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        columns = {"frames": self.frames, "labels": self.labels}
        if self.scores is not None:
            columns["scores"] = self.scores
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes must have shape (N, 4), got {self.boxes.shape}")
        for name, column in columns.items():
            if column.shape != self.boxes.shape[:1]:
                raise ValueError(f"{name} must have shape ({len(self.boxes)},) as boxes, got {column.shape}")
            if name != "scores" and column.dtype.kind not in "iu":
                raise ValueError(f"{name} must be integers, got {column.dtype}")
        if len(set(self.frame_ids)) != len(self.frame_ids):
            raise ValueError("frame_ids must be distinct, got a repeated one")
        for name in ("boxes", "scores"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
                raise ValueError(f"{name} must be finite, got {values[row].tolist()} in frame {self.frame_of(row)}")

    @classmethod
    def from_mapping(cls, frames: Mapping[Hashable, Mapping[str, Any]], *, with_scores: bool) -> "BoxTable":
        """Join `{frame id: {"boxes": (N, 4), "labels": (N,), "scores": (N,)}}` of arrays, tensors or lists.

        Args:
            frames: the mapping; other keys of an entry are not read.
            with_scores: whether scores are read, and needed.

        Raises:
            ValueError: names the frame, when a key is missing or shapes do not fit.
        """
        keys = ("boxes", "labels", "scores") if with_scores else ("boxes", "labels")
        columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        for frame_id, entry in frames.items():
            missing = [key for key in keys if key not in entry]
            if missing:
                raise ValueError(f"the boxes of frame {frame_id} lack {missing[0]!r}; give {', '.join(keys)}")
            arrays = [np.asarray(entry[key]) for key in keys]
            arrays[0] = arrays[0].reshape(-1, 4) if arrays[0].size == 0 else arrays[0]
            sizes = [len(array) for array in arrays]
            if arrays[0].shape[1:] != (4,) or len(set(sizes)) > 1:
                shapes = ", ".join(f"{key} {array.shape}" for key, array in zip(keys, arrays, strict=True))
                raise ValueError(f"frame {frame_id} needs boxes (N, 4) and N of each other value, got {shapes}")
            for key, array in zip(keys, arrays, strict=True):
                columns[key].append(array.astype(np.int64) if key == "labels" and array.size == 0 else array)
        counts = [len(labels) for labels in columns["labels"]]
        return cls(
            frame_ids=list(frames),
            frames=np.repeat(np.arange(len(counts)), counts),
            boxes=np.concatenate([np.empty((0, 4)), *columns["boxes"]]),
            labels=np.concatenate([np.empty(0, np.int64), *columns["labels"]], dtype=np.int64, casting="same_kind"),
            scores=np.concatenate([np.empty(0), *columns["scores"]]) if with_scores else None,
        )

    def __len__(self) -> int:
        """Count the rows of all frames."""
        return len(self.boxes)

    def frame_of(self, row: int) -> Hashable:
        """Name the frame of a row."""
        return self.frame_ids[self.frames[row]]

    def rows(self, chosen: np.ndarray) -> "BoxTable":
        """Give the table of the chosen rows (a boolean mask or indices), with the same `frame_ids`."""
        return replace(
            self,
            frames=self.frames[chosen],
            boxes=self.boxes[chosen],
            labels=self.labels[chosen],
            scores=None if self.scores is None else self.scores[chosen],
        )

    def without_frames(self, excluded: Collection[Hashable]) -> "BoxTable":
        """Leave out all rows of the `excluded` frames; names that do not occur are fine."""
        excluded = set(excluded)
        allowed = np.array([frame_id not in excluded for frame_id in self.frame_ids], dtype=bool)
        return self.rows(allowed[self.frames]) if excluded else self


def paired_box_iou(first: np.ndarray, second: np.ndarray, *, inclusive: bool = False) -> np.ndarray:
    """Intersection over union of boxes (..., 4), pair by pair; 0 where both are empty.

    Args:
        first: xyxy.
        second: xyxy, of a shape that broadcasts.
        inclusive: whether both corners belong to the box, in whole pixels: its sides are then x1 - x0 + 1.
    """
    rim = 1.0 if inclusive else 0.0
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]) + rim
    sides = np.maximum(sides, 0)
    intersection = sides[..., 0] * sides[..., 1]
    union = _areas(first, rim) + _areas(second, rim) - intersection
    return np.divide(intersection, union, out=np.zeros(union.shape), where=intersection > 0)


def _areas(boxes: np.ndarray, rim: float) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0] + rim) * (boxes[..., 3] - boxes[..., 1] + rim)
