"""Own annotations of action detection: a table with one row for each box and action, joined to one row a key time.

Columns are `video` (path in the folder or in its `videos`, with or without suffix), `second`, `x1`, `y1`, `x2`, `y2`
(relative to width and height), `label`, and where known `person` (any name or number) and `split`. Several rows of one
person at one time are one box with several actions; a row without a box is a key time at which nobody acts.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ...printable_text import short_value
from ...processing.media_suffixes import VIDEO_SUFFIXES
from ..named_files import name_below
from .example_tables import Row
from .temporal_annotations import parse_number

ACTION_BOX_COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "label")
SIDES = ("x1", "y1", "x2", "y2")
TASK = "action-detection"


def is_action_box_table(columns: Collection[str]) -> bool:
    """Say whether a table has one row for each box and action."""
    return set(ACTION_BOX_COLUMNS) <= set(columns)


def join_action_boxes(rows: Sequence[Row]) -> list[Row]:
    """Join rows of boxes to rows of key times, in the order of their first box.

    Args:
        rows: of one table, in which every cell may be text.

    Returns:
        Rows with the columns of action detection; `split` is kept.

    Raises:
        ValueError: a side or second is no number, a box is partly given, not relative or without area, or one person
            is at two places at one time; names file and line.
    """
    by_time: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        if row.cells.get("video") in (None, ""):
            raise ValueError(f"{row.where}: there is no video; name its file")
        key = (str(row.cells["video"]), parse_number(row.cells.get("second"), "the second", row.where))
        by_time.setdefault(key, []).append(row)
    people: dict[str, dict[str, int]] = {}
    places: dict[str, str] = {}
    joined = []
    for (video, second), of_time in by_time.items():
        first = of_time[0]
        if video not in places:
            places[video] = _find_video(first.root, video)
        cells = {"video_id": Path(video).stem, "video": places[video], "timestamp": second}
        cells |= _boxes_of_time(of_time, people.setdefault(video, {}))
        splits = {row.cells.get("split") for row in of_time}
        if len(splits) > 1:
            raise ValueError(f"{first.where}: {video} at {second:g} s has several splits: {sorted(map(str, splits))}")
        if first.cells.get("split") is not None:
            cells["split"] = first.cells["split"]
        joined.append(Row(cells, first.where, first.root))
    return joined


def _boxes_of_time(rows: Sequence[Row], people: dict[str, int]) -> dict[str, list[Any]]:
    """Give the boxes at one time with the actions and the number of each; `people` numbers those of the video."""
    boxes: dict[Any, tuple[list[float], list[str], str]] = {}
    numbers: list[int | None] = []
    for row in rows:
        box = _read_box(row)
        if box is None:
            continue
        person = row.cells.get("person")
        # Without a name, equal boxes are one person.
        key = tuple(box) if person in (None, "") else str(person)
        known, labels, where = boxes.setdefault(key, (box, [], row.where))
        if known != box:
            raise ValueError(f"{row.where}: person {person} is at {box}, but at {known} in {where}; give each an id")
        if len(boxes) > len(numbers):
            numbers.append(people.setdefault(key, len(people)) if isinstance(key, str) else None)
        label = row.cells.get("label")
        if label not in (None, "") and label not in labels:
            labels.append(label)
    return {
        "boxes": [box for box, _, _ in boxes.values()],
        "labels": [labels for _, labels, _ in boxes.values()],
        "actor_ids": numbers,
    }


def _read_box(row: Row) -> list[float] | None:
    given = [row.cells.get(side) not in (None, "") for side in SIDES]
    if not any(given):
        return None
    if not all(given):
        missing = next(side for side, there in zip(SIDES, given, strict=True) if not there)
        raise ValueError(f"{row.where}: the box has no {missing}; give all four sides, or none for nobody")
    box = [parse_number(row.cells[side], side, row.where) for side in SIDES]
    if not all(0 <= side <= 1 for side in box):
        hint = "divide pixels by width and height" if max(box) > 2 else "cut boxes at the edges of the frame"
        raise ValueError(f"{row.where}: boxes are relative to width and height, in [0, 1], got {box}; {hint}")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"{row.where}: a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2, got {short_value(box)}")
    return box


def _find_video(root: Path, video: str) -> str:
    """Give the path of a video relative to its folder; as it is where there is none, which is reported later."""
    for name in (name_below(root, video), os.path.join("videos", name_below(root / "videos", video))):
        if (root / name).exists():
            return name
        for suffix in sorted(VIDEO_SUFFIXES):
            if (root / f"{name}{suffix}").is_file():
                return f"{name}{suffix}"
    return video
