"""Do the films of a corpus of action detection fit its key times: can they be opened, and are they long enough?

No frame is decoded. Training and evaluation refuse such a film too, but when they come to it.
"""

from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from .content_checks import SECONDS_BEFORE_A_BAR, Problem, name_some
from .excluded_rows import without_excluded

if TYPE_CHECKING:
    from datasets import Dataset


def find_film_problems(dataset: "Dataset", split: str) -> list[Problem]:
    """Open every film of a split and compare its length with its key times.

    Args:
        dataset: with the columns of its task; without `video` and `timestamp` there is nothing to find.
        split: its name, for messages.

    Returns:
        One error for the films that cannot be opened or have key times before their start or behind their end.
    """
    if not {"video", "timestamp"} <= set(dataset.column_names):
        return []
    # These need PyTorch, for which a command's help does not wait.
    from ..processing.decoding import open_video
    from ..processing.key_frame_clips import checked_key_times

    columns = [name for name in ("video", "timestamp", "fps") if name in dataset.column_names]
    times: dict[tuple[str, float | None], list[float]] = {}
    for row in without_excluded(dataset).select_columns(columns):
        times.setdefault((row["video"], row.get("fps")), []).append(row["timestamp"])
    faults = []
    films = tqdm(times.items(), f"films of {split!r}", unit="film", leave=False, delay=SECONDS_BEFORE_A_BAR)
    for (video, fps), seconds in films:
        try:
            checked_key_times(open_video(video), sorted(seconds), fps)
        except (OSError, ValueError) as error:
            faults.append(str(error))
    if not faults:
        return []
    return [
        Problem(
            "error",
            f"split {split!r}: {len(faults)} films do not fit their key times ({name_some(faults, 3)}); mend them or "
            "leave their rows out",
        )
    ]
