"""The segments of many videos in flat arrays, as the vectorised metrics read them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class SegmentTable:
    """Predicted or annotated segments of many videos, one row each.

    Args:
        video_ids: `(V,)` distinct names of the videos; a video may have no rows.
        videos: `(N,)` integers, the index of each row's video in `video_ids`.
        segments: `(N, 2)` float64, `[start, end]` in seconds.
        labels: `(N,)` integer class ids.
        scores: `(N,)` float64, or `None` for annotations.

    Raises:
        ValueError: for shapes that do not fit, labels that are not integers, indices without a video, or segments
            and scores that are not finite; the last names the video.
    """

    video_ids: Sequence[str]
    videos: np.ndarray
    segments: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        columns = {"videos": self.videos, "labels": self.labels}
        if self.scores is not None:
            columns["scores"] = self.scores
        if self.segments.ndim != 2 or self.segments.shape[1] != 2:
            raise ValueError(f"segments must have shape (N, 2), got {self.segments.shape}")
        for name, column in columns.items():
            if column.shape != self.segments.shape[:1]:
                raise ValueError(f"{name} must have shape ({len(self.segments)},) as segments, got {column.shape}")
        for name in ("videos", "labels"):
            if columns[name].dtype.kind not in "iu":
                raise ValueError(f"{name} must be integers, got {columns[name].dtype}")
        if len(set(self.video_ids)) != len(self.video_ids):
            raise ValueError("video_ids must be distinct, got a repeated one")
        if len(self.videos) and not 0 <= self.videos.min() <= self.videos.max() < len(self.video_ids):
            raise ValueError(f"videos must index the {len(self.video_ids)} video_ids, got an index outside")
        self._refuse_rows(~np.isfinite(self.segments).all(axis=1), "has a segment that is not finite")
        if self.scores is not None:
            self._refuse_rows(~np.isfinite(self.scores), "has a score that is not finite")

    @classmethod
    def from_mapping(cls, videos: Mapping[str, Mapping[str, Any]], *, name: str, with_scores: bool) -> "SegmentTable":
        """Join `{video_id: {"segments": (N, 2), "labels": (N,), "scores": (N,)}}` of arrays, tensors or lists.

        Args:
            videos: the mapping; other keys of an entry are not read.
            name: what errors call it.
            with_scores: whether scores are read, and needed.

        Raises:
            ValueError: naming the video, when a key is missing, shapes do not fit or values are out of range.
        """
        if not isinstance(videos, Mapping):
            raise ValueError(
                f"{name} must be a mapping from video id to segments and labels, or a SegmentTable, got "
                f"{type(videos).__name__}"
            )
        keys = ("segments", "labels", "scores") if with_scores else ("segments", "labels")
        columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        for video_id, entry in videos.items():
            try:
                arrays = _entry_columns(entry, keys)
            except ValueError as error:
                raise ValueError(f"{name} of video {video_id!r}: {error}") from None
            for key, array in zip(keys, arrays, strict=True):
                columns[key].append(array)
        lengths = [len(labels) for labels in columns["labels"]]
        return cls(
            video_ids=list(videos),
            videos=np.repeat(np.arange(len(lengths)), lengths),
            segments=np.concatenate([np.empty((0, 2)), *columns["segments"]]),
            labels=np.concatenate(
                [np.empty(0, dtype=np.int64), *columns["labels"]], dtype=np.int64, casting="same_kind"
            ),
            scores=np.concatenate([np.empty(0), *columns["scores"]]) if with_scores else None,
        )

    def __len__(self) -> int:
        """Count the segments of all videos."""
        return len(self.segments)

    def rows(self, chosen: np.ndarray) -> "SegmentTable":
        """Return the table of the chosen rows (a boolean mask or indices), with the same `video_ids`."""
        return replace(
            self,
            videos=self.videos[chosen],
            segments=self.segments[chosen],
            labels=self.labels[chosen],
            scores=None if self.scores is None else self.scores[chosen],
        )

    def without_videos(self, blocked: Collection[str]) -> "SegmentTable":
        """Leave out all rows of the `blocked` videos; names that do not occur are fine."""
        blocked = set(blocked)
        allowed = np.array([video_id not in blocked for video_id in self.video_ids], dtype=bool)
        return self.rows(allowed[self.videos]) if blocked else self

    def refuse_inverted(self, name: str, way_out: str) -> None:
        """Raise a `ValueError` that names the first video with a segment that ends before it starts."""
        inverted = self.segments[:, 1] < self.segments[:, 0]
        self._refuse_rows(inverted, f"has a segment that ends before it starts in {name}; {way_out}")

    def _refuse_rows(self, wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            start, end = self.segments[row]
            score = "" if self.scores is None else f", score {self.scores[row]:g}"
            raise ValueError(
                f"video {self.video_ids[self.videos[row]]!r} {what} ([{start:g}, {end:g}], label "
                f"{self.labels[row]}{score})"
            )


def _entry_columns(entry: Any, keys: tuple[str, ...]) -> list[np.ndarray]:
    """Read one video's arrays; the `ValueError` says what is wrong with them, the caller says whose they are."""
    if not isinstance(entry, Mapping) or any(key not in entry for key in keys):
        found = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
        raise ValueError(f"must be a mapping with {', '.join(keys)}, got {found}")
    columns = [np.asarray(entry[key]) for key in keys]
    if columns[0].size == 0:
        columns[0] = np.empty((0, 2))
    if columns[1].size == 0:
        columns[1] = np.empty(columns[1].shape, dtype=np.int64)
    segments, labels = columns[:2]
    if segments.shape[1:] != (2,):
        raise ValueError(f"segments must have shape (N, 2), got {segments.shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integer class ids, got {labels.dtype}")
    for key, column in zip(keys, columns, strict=True):
        if column.shape[:1] != segments.shape[:1] or (column.ndim > 1 and column is not segments):
            raise ValueError(f"{key} must have shape ({len(segments)},) as segments, got {column.shape}")
        if column.dtype.kind not in "iuf":
            raise ValueError(f"{key} must be numbers, got {column.dtype}")
    return columns
