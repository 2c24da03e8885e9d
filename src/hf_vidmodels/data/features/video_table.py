"""One split of a corpus for temporal action localisation, as plain columns."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...processing.feature_reading import describe_rate_mismatch, feature_shape, read_features

if TYPE_CHECKING:
    import datasets

# Below this a feature counts as constant.
SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class VideoTable:
    """One split of a corpus for temporal action localisation.

    Attributes:
        video_ids: names.
        feature_files: per video what `read_features` reads.
        labels: per video its sorted class ids.
        segments: per video (M, 2) seconds and (M,) class ids of the annotations, for evaluation alone.
        durations: per video seconds.
        video_files: per video its file, `None` where the corpus has features only.
    """

    video_ids: list[str]
    feature_files: list[Any]
    labels: list[list[int]]
    segments: dict[str, dict[str, np.ndarray]]
    durations: list[float]
    video_files: list[str | None]

    @classmethod
    def from_corpus(cls, split: "datasets.Dataset") -> "VideoTable":
        """Read the columns of `data/contracts.py`; a corpus without segments can be trained on, not evaluated."""
        rows = split.to_dict()
        columns = rows.get("segments") or [[] for _ in rows["video_id"]]
        segments = {
            video: {
                "segments": np.array([[item["start"], item["end"]] for item in items], dtype=np.float64).reshape(
                    -1, 2
                ),
                "labels": np.array([item["label"] for item in items], dtype=np.int64),
            }
            for video, items in zip(rows["video_id"], columns, strict=True)
        }
        videos = rows.get("video") or [None] * len(rows["video_id"])
        return cls(
            video_ids=rows["video_id"],
            feature_files=rows["features"],
            labels=[sorted(set(labels)) for labels in rows["labels"]],
            segments=segments,
            durations=rows["duration"],
            video_files=[video["path"] if isinstance(video, dict) else video for video in videos],
        )

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.video_ids)

    @property
    def has_segments(self) -> bool:
        """Whether any video has an annotated segment."""
        return any(len(rows["labels"]) for rows in self.segments.values())

    def load(self, index: int, expected_width: int | None = None) -> np.ndarray:
        """Return (L, C) features of one video, see `read_features` for the errors."""
        return read_features(self.feature_files[index], expected_width)

    def feature_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (C,) of the features over all rows of all videos, reading each once.

        A feature that never changes gets the deviation 1.
        """
        count, total, squares = 0, 0.0, 0.0
        for index in range(len(self)):
            features = np.asarray(self.load(index), dtype=np.float64)
            count += len(features)
            total = total + features.sum(0)
            squares = squares + np.square(features).sum(0)
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
        return mean, np.where(std > SMALLEST_DEVIATION, std, 1.0)


def warn_of_other_rate(tables: Sequence[VideoTable], frames_per_second: float, frames_per_snippet: int) -> None:
    """Warn when the number of features does not fit the duration: right classes would come at wrong times."""
    mismatches = [
        mismatch
        for table in tables
        for index, video_id in enumerate(table.video_ids)
        if (
            mismatch := describe_rate_mismatch(
                feature_shape(table.feature_files[index])[0],
                table.durations[index],
                frames_per_second,
                frames_per_snippet,
                video_id,
            )
        )
    ]
    if mismatches:
        others = f"; the same holds for {len(mismatches) - 1} more videos" if len(mismatches) > 1 else ""
        warnings.warn(f"{mismatches[0]}{others}", stacklevel=2)
