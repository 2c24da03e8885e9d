"""Checks of a corpus' feature files: readable, of one width, finite, and of a rate that fits the durations."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from ...processing.feature_reading import describe_rate_mismatch, feature_shape, read_features
from ..content_checks import SECONDS_BEFORE_A_BAR, Problem, name_some

if TYPE_CHECKING:
    from datasets import Dataset

MAX_SENTENCES = 5
# Another frame rate makes features seem twice as long at most in practice (25 for 50 frames per second).
FAR_LONGER = 2.5


def find_feature_problems(
    dataset: "Dataset",
    expected_width: int | None = None,
    *,
    read_values: bool = True,
    show_progress: bool = True,
) -> list[Problem]:
    """Open the features of every video of a split for temporal localisation, one at a time.

    Args:
        dataset: a split with the column `features`; gives no problems without it.
        expected_width: feature size C that the model wants; None = that of the first video that can be read.
        read_values: read all values to find NaN and infinity; False reads the headers of `.npy` and `.h5` files only.
        show_progress: show how far it is where it takes a while.
    """
    if "features" not in dataset.features:
        return []
    errors, mismatches = [], []
    far_longer = []
    bar = {"leave": False, "delay": SECONDS_BEFORE_A_BAR, "disable": not show_progress}
    for row in tqdm(dataset, "features", unit="video", **bar):
        try:
            length, width = _measure(row["features"], expected_width, read_values)
        except (ValueError, OSError) as error:
            errors.append(str(error))
            continue
        expected_width = expected_width or width
        if row.get("fps") and row.get("frames_per_snippet"):
            span = length * row["frames_per_snippet"] / row["fps"]
            if span > FAR_LONGER * row["duration"] + row["frames_per_snippet"] / row["fps"]:
                far_longer.append(f"{row['video_id']}: {span:.1f} s of features, {row['duration']:.1f} s of video")
                continue
            mismatch = describe_rate_mismatch(
                length, row["duration"], row["fps"], row["frames_per_snippet"], row["video_id"]
            )
            mismatches += [(row["video_id"], mismatch)] if mismatch else []
    if far_longer:
        errors.append(
            f"the features of {len(far_longer)} videos are far longer than these ({name_some(far_longer)}); they are "
            "those of other videos, or fps, frames_per_snippet or duration is wrong"
        )
    return _summarise(errors, mismatches)


def _measure(source: Any, expected_width: int | None, read_values: bool) -> tuple[int, int]:
    if read_values:
        return read_features(source, expected_width).shape
    length, width = feature_shape(source)
    if expected_width is not None and width != expected_width:
        raise ValueError(f"{source} has features of size {width} where {expected_width} are expected")
    return length, width


def _summarise(errors: list[str], mismatches: list[tuple[str, str]]) -> list[Problem]:
    problems = [Problem("error", sentence) for sentence in errors[:MAX_SENTENCES]]
    if len(errors) > MAX_SENTENCES:
        problems.append(Problem("error", f"{len(errors) - MAX_SENTENCES} more feature files cannot be used"))
    if mismatches:
        others = _others(video_id for video_id, _ in mismatches[1:])
        problems.append(Problem("warning", f"{mismatches[0][1]}{others}"))
    return problems


def _others(video_ids: Iterable[str]) -> str:
    names = list(video_ids)
    return f"; the same holds for {len(names)} more videos ({name_some(names)})" if names else ""
