"""Files in AVA's form: boxes as CSV, label maps, and lists of key frames that are left out.

A row is `video, second, x1, y1, x2, y2, action, person` for annotations and has a score in the last column for
detections; boxes are relative, actions are the ids of a label map, from 1. There is no header. A row with video and
second alone, or with the rest empty, is a key frame without people.
"""

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_io import atomic_write
from ..text_files import read_lines, read_text
from .box_table import BoxTable

NO_ACTION = -1
NO_PERSON = -1
_LARGEST_ID = 10**15 - 1
_ROW_LENGTHS = (2, 7, 8)
_FORM = "video, second, x1, y1, x2, y2, action and, where there is one, a person or a score"
_ITEM = re.compile(r"(?:item|label)\s*\{(.*?)\}", re.DOTALL)
_NAME = re.compile(r"""\bname\s*:\s*(?:"([^"]*)"|'([^']*)')""")
_ID = re.compile(r"\b(?:label_)?id\s*:\s*(\d+)")


@dataclass(frozen=True, eq=False)
class AvaRows:
    """The rows of a CSV file in AVA's form.

    Attributes:
        path: the file.
        numbers: `(N,)` number of each row that has a box, from 1.
        videos: `(N,)` names.
        seconds: `(N,)` float64.
        boxes: `(N, 4)` float64, xyxy relative to width and height.
        actions: `(N,)` int64, `NO_ACTION` where the row names none.
        last: `(N,)` float64, person or score; NaN where the row has none.
        empty_frames: (video, second) of the rows without a box.
    """

    path: str
    numbers: np.ndarray
    videos: np.ndarray
    seconds: np.ndarray
    boxes: np.ndarray
    actions: np.ndarray
    last: np.ndarray
    empty_frames: list[tuple[str, float]]

    def __len__(self) -> int:
        """Count the rows that have a box."""
        return len(self.videos)


def read_ava_rows(path: str | os.PathLike[str], *, boxes_alone: bool = False) -> AvaRows:
    """Read boxes.

    Args:
        path: the file.
        boxes_alone: rows may end behind the box.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row has another number of columns, or a value that is no number, or a box in pixels, outside
            [0, 1] or without area on the wrong side; names file and row.
    """
    rows = _csv_rows(path)
    for number, row in rows:
        if len(row) not in _ROW_LENGTHS and not (boxes_alone and len(row) == 6):
            raise ValueError(f"{path}, row {number}: expected {_FORM} (7 or 8 columns), got {len(row)} columns")
    empty = [row for row in rows if not any(cell.strip() for cell in row[1][2:6])]
    full = [row for row in rows if any(cell.strip() for cell in row[1][2:6])]
    columns = [[cell.strip() for cell in column] for column in zip(*([*row, ""][:7] for _, row in full), strict=True)]
    columns = columns or [[] for _ in range(7)]
    numbers = np.array([number for number, _ in full], dtype=np.int64)
    where = f"{path}, row"
    boxes = [_numbers(columns[place], f"{name} of a box", numbers, where) for place, name in _BOX_CELLS]
    read = AvaRows(
        path=os.fspath(path),
        numbers=numbers,
        videos=np.array(columns[0], dtype=object),
        seconds=_numbers(columns[1], "the second", numbers, where),
        boxes=np.stack(boxes, axis=1) if full else np.empty((0, 4)),
        actions=whole_numbers(
            _numbers(columns[6], "the action", numbers, where, default=NO_ACTION),
            lambda row: f"{where} {numbers[row]}: the action",
        ),
        last=_numbers([row[7] if len(row) > 7 else "" for _, row in full], "the last column", numbers, where, np.nan),
        empty_frames=[(row[0].strip(), second) for row, second in _empty_frames(empty, where)],
    )
    refuse_wrong_boxes(read.boxes, lambda row: f"{path}, row {numbers[row]}")
    return read


_BOX_CELLS = ((2, "x1"), (3, "y1"), (4, "x2"), (5, "y2"))


def read_ava_annotations(path: str | os.PathLike[str]) -> BoxTable:
    """Read the annotations of frames named (video, second), one row for each box and action.

    Raises:
        FileNotFoundError, ValueError: as `read_ava_rows`; also a row without an action, and one that says the same
            action of the same person and box twice.
    """
    rows = read_ava_rows(path)
    _require_actions(rows)
    same = np.unique(
        np.column_stack([rows.seconds, rows.boxes, rows.actions, np.nan_to_num(rows.last, nan=NO_PERSON)]).astype(str)
        if len(rows)
        else np.empty((0, 7), str),
        axis=0,
        return_inverse=True,
    )[1].reshape(-1)
    seen: dict[tuple[Any, ...], int] = {}
    for number, key in zip(rows.numbers.tolist(), zip(rows.videos, same.tolist(), strict=True), strict=True):
        if key in seen:
            raise ValueError(f"{path}, row {number}: it repeats row {seen[key]}; remove one of them")
        seen[key] = number
    return _table(rows, scores=None)


def read_ava_detections(path: str | os.PathLike[str]) -> BoxTable:
    """Read detections with their scores, frames named as `read_ava_annotations` does.

    Boxes without area are kept: the evaluators drop them.

    Raises:
        FileNotFoundError, ValueError: as `read_ava_rows`; also a row without an action or a score.
    """
    rows = read_ava_rows(path)
    _require_actions(rows)
    if np.isnan(rows.last).any():
        raise ValueError(f"{path}, row {rows.numbers[np.isnan(rows.last)][0]}: there is no score in the eighth column")
    return _table(rows, scores=rows.last)


def read_excluded_frames(path: str | os.PathLike[str]) -> list[tuple[str, float]]:
    """Read a list of `video, second` of key frames that are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is of another kind; names it.
    """
    frames = []
    for number, line in read_lines(path):
        cells = [cell.strip() for cell in line.split(",")]
        try:
            video, second = cells
            frames.append((video, float(second)))
        except ValueError:
            raise ValueError(f"{path}, row {number}: expected video, second, got {line!r}") from None
    return frames


def read_label_map(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read the names of actions by their id: `item { name: "..." id: 1 }` (`.pbtxt`), or CSV lines `id,name`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no label map, or has an id twice.
    """
    pairs = _pbtxt_items(path) if Path(path).suffix.lower() != ".csv" else _csv_items(path)
    if not pairs:
        raise ValueError(f'{path} holds no classes; a label map has items {{ name: "..." id: 1 }}, or lines id,name')
    names: dict[int, str] = {}
    for class_id, name in pairs:
        if class_id in names:
            raise ValueError(f"{path} has the id {class_id} for {names[class_id]!r} and {name!r}; ids are distinct")
        names[class_id] = name
    return names


def write_ava_detections(
    path: str | os.PathLike[str], detections: Iterable[Mapping[str, Any]], action_ids: Mapping[int, int]
) -> None:
    """Write detections as CSV with six decimals, so that writing makes no equal scores of different ones.

    Args:
        path: the file; it is written atomically.
        detections: of each frame `video`, `timestamp` in seconds, `boxes` (N, 4) relative xyxy and `scores` (N, C);
            classes of score 0 are not written.
        action_ids: id of the label map of each class.
    """
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        for found in detections:
            second = found["timestamp"]
            frame = [found["video"], f"{second:04.0f}" if second == int(second) else f"{second:.3f}"]
            for box, label in zip(*np.nonzero(np.asarray(found["scores"]) > 0), strict=True):
                numbers = [f"{value:.6f}" for value in found["boxes"][box]]
                writer.writerow([*frame, *numbers, action_ids[int(label)], f"{found['scores'][box][label]:.6f}"])


def refuse_wrong_boxes(boxes: np.ndarray, where: Any) -> None:
    """Refuse boxes that are not relative.

    Args:
        boxes: `(N, 4)`.
        where: gives the place of row number i, for the error.

    Raises:
        ValueError: names the first row.
    """
    outside = ((boxes < 0) | (boxes > 1)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        shown = ", ".join(f"{value:g}" for value in boxes[row])
        hint = "divide pixels by width and height" if boxes[row].max() > 2 else "cut boxes at the edges of the frame"
        raise ValueError(f"{where(row)}: boxes are relative to width and height, in [0, 1], got {shown}; {hint}")


def whole_numbers(values: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """Give ids that were read as float64 as int64.

    Args:
        values: `(N,)`.
        where: gives the place and name of number i, for the error.

    Raises:
        ValueError: one is no whole number, or needs more digits than a float keeps; names the first.
    """
    wrong = (values != np.floor(values)) | (np.abs(values) > _LARGEST_ID)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{where(row)} must be a whole number of at most 15 digits, got {values[row]:g}")
    return values.astype(np.int64)


def _csv_rows(path: str | os.PathLike[str]) -> list[tuple[int, list[str]]]:
    """Give the rows that are not empty, each with its number from 1."""
    reader = csv.reader(read_text(path).splitlines())
    try:
        rows = list(enumerate(reader, start=1))
    except csv.Error as error:
        raise ValueError(f"{path}, row {reader.line_num}: {error}; it is no table with commas") from error
    return [(number, row) for number, row in rows if any(cell.strip() for cell in row)]


def _numbers(cells: list[str], what: str, numbers: np.ndarray, where: str, default: float | None = None) -> np.ndarray:
    """Turn cells into float64; empty ones are `default`, where there is one."""
    if default is not None:
        cells = [cell.strip() or str(default) for cell in cells]
    try:
        values = np.array(cells, dtype=np.float64) if cells else np.empty(0)
    except ValueError:
        values = None
    allowed = np.isnan(default) if default is not None else False
    if values is None or not (np.isfinite(values) | (allowed & np.isnan(values))).all():
        for number, cell in zip(numbers.tolist(), cells, strict=True):
            if not _is_number(cell) and not (allowed and cell == "nan"):
                raise ValueError(f"{where} {number}: {what} must be a number, got {cell!r}")
    return values


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _empty_frames(rows: list[tuple[int, list[str]]], where: str) -> list[tuple[list[str], float]]:
    numbers = np.array([number for number, _ in rows], dtype=np.int64)
    seconds = _numbers([row[1].strip() for _, row in rows], "the second", numbers, where)
    return list(zip([row for _, row in rows], seconds.tolist(), strict=True))


def _require_actions(rows: AvaRows) -> None:
    if (rows.actions == NO_ACTION).any():
        number = rows.numbers[rows.actions == NO_ACTION][0]
        raise ValueError(f"{rows.path}, row {number}: there is no action in the seventh column")


def _table(rows: AvaRows, scores: np.ndarray | None) -> BoxTable:
    places: dict[tuple[str, float], int] = {}
    keys = zip(rows.videos, rows.seconds.tolist(), strict=True)
    frames = [places.setdefault(key, len(places)) for key in keys]
    for frame in rows.empty_frames:
        places.setdefault(frame, len(places))
    return BoxTable(list(places), np.array(frames, dtype=np.int64), rows.boxes, rows.actions, scores)


def _pbtxt_items(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    items = []
    for item in _ITEM.finditer(read_text(path)):
        name, class_id = _NAME.search(item[1]), _ID.search(item[1])
        if name is None or class_id is None:
            raise ValueError(f"{path}: an item has no name or no id: {' '.join(item[0].split())[:80]}")
        items.append((int(class_id[1]), name[1] or name[2] or ""))
    return items


def _csv_items(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    items = []
    for number, row in _csv_rows(path):
        if number == 1 and not row[0].strip().isdecimal():
            continue
        if len(row) < 2 or not row[0].strip().isdecimal():
            raise ValueError(f"{path}, row {number}: expected id,name, got {','.join(row)!r}")
        items.append((int(row[0]), row[1].strip()))
    return items
