"""Annotations of untrimmed videos as they are written in files: ActivityNet-style JSON and tables of instances.

Both are read into `VideoAnnotation`s, which know nothing of `datasets`. Reading checks the form of a file; whether the
times make sense is checked for all corpora alike by `content_checks.py`.
"""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...atomic_io import write_json
from ...printable_text import short_value
from ...text_files import read_json, read_text
from ..class_lists import class_name
from ..contracts import nearest_hint
from .foreign_files import refuse_foreign_json

INSTANCE_COLUMNS = ("video_id", "label", "start", "end")
# What other files call the times of an annotation has one of these in it: `t_start`, `segment(frames)`, `timestamps`.
_WORDS_OF_TIMES = ("start", "begin", "segment", "time")
VIDEO_COLUMNS = ("subset", "duration", "fps", "frames_per_snippet", "features", "video")


@dataclass
class VideoAnnotation:
    """What a file says about one untrimmed video; None where it says nothing.

    Attributes:
        video_id: name of the video.
        segments: `(start, end, class name)`, times in seconds.
        labels: names of the classes that occur in the video; None = those of the segments.
        subset: subset of the corpus, as written.
        duration: length in seconds.
        fps: frames per second of the features or the video.
        frames_per_snippet: frames from one feature to the next.
        features: feature file, or a pair of files (rgb, flow).
        video: video file.
    """

    video_id: str
    segments: list[tuple[float, float, str]] = field(default_factory=list)
    labels: list[str] | None = None
    subset: str | None = None
    duration: float | None = None
    fps: float | None = None
    frames_per_snippet: int | None = None
    features: str | list[str] | None = None
    video: str | None = None

    @property
    def video_labels(self) -> list[str]:
        """Names of the classes of the video, each once, sorted by code point."""
        return sorted(set(self.labels if self.labels is not None else (label for _, _, label in self.segments)))

    @property
    def all_labels(self) -> set[str]:
        """Names of the classes of the video and of its segments."""
        return {*self.video_labels, *(label for _, _, label in self.segments)}


def read_annotation_json(path: str | os.PathLike[str]) -> dict[str, VideoAnnotation]:
    """Read `{"database": {video_id: {"subset", "duration", "annotations": [{"label", "segment": [s, e]}]}}}`.

    The level `"database"` may be left out. `duration`, `fps`, `frames_per_snippet`, `features` and `video` are read
    where a video has them. A list `"labels"` gives the classes of the video apart from its instances; an annotation
    without `"segment"` does so too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, a video twice, an entry of another form (names the video), or the file of another tool.
    """
    path = Path(path)
    content = read_json(path)
    refuse_foreign_json(content, path)
    database = content.get("database", content) if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(isinstance(entry, dict) for entry in database.values()):
        raise ValueError(
            f'{path} is not a file of annotations; expected {{"database": {{video_id: {{"subset": ..., '
            '"annotations": [{"label": ..., "segment": [start, end]}]}}}'
        )
    return {
        video_id: annotation_from_entry(video_id, entry, f"{path}, video {video_id!r}")
        for video_id, entry in database.items()
    }


def read_instance_table(path: str | os.PathLike[str]) -> dict[str, VideoAnnotation]:
    """Read a CSV file with one action a row: `video_id,label,start,end` and optionally what `VIDEO_COLUMNS` names.

    A row with empty `start` and `end` says that the class occurs somewhere in the video.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a missing column, a time that is no number, or rows that disagree about a video; names the row.
    """
    path = Path(path)
    header, rows = read_csv_rows(path)
    missing = [column for column in INSTANCE_COLUMNS if column not in header]
    if missing:
        raise ValueError(
            f"{path} has no column {missing[0]!r}{nearest_hint(missing[0], header)}; found: {', '.join(header)}; "
            f"needed: {', '.join(INSTANCE_COLUMNS)}"
        )
    annotations: dict[str, VideoAnnotation] = {}
    for number, row in rows:
        where = f"{path}, line {number}"
        video_id, label = row["video_id"], row["label"]
        for column in ("video_id", "label"):
            if not row[column]:
                raise ValueError(f"{where}: {column} is empty")
        annotation = annotations.setdefault(video_id, VideoAnnotation(video_id, labels=[]))
        for column in VIDEO_COLUMNS:
            if row.get(column):
                _set_once(annotation, column, row[column], where)
        if row["start"] or row["end"]:
            start, end = (parse_number(row[column], column, where) for column in ("start", "end"))
            annotation.segments.append((start, end, label))
        annotation.labels.append(label)
    return annotations


def annotation_from_entry(video_id: str, entry: Mapping[str, Any], where: str) -> VideoAnnotation:
    """Read what a file says about one video.

    Args:
        video_id: name of the video.
        entry: `annotations` (`{"label", "segment": [start, end]}`) or `segments` (`{"label", "start", "end"}`),
            `labels`, and what `VIDEO_COLUMNS` names; all of them may be absent.
        where: file and place in it, for error messages.

    Raises:
        ValueError: an entry of another form.
    """
    annotation = VideoAnnotation(video_id)
    for name in VIDEO_COLUMNS:
        if entry.get(name) is not None:
            _set_once(annotation, name, entry[name], where)
    labels = entry.get("labels", [])
    instances = entry.get("annotations", entry.get("segments", []))
    if not isinstance(labels, list):
        raise ValueError(f"{where}: labels must be a list of class names, got {labels!r}")
    labels = [class_name(label, f"{where}: an entry of labels") for label in labels]
    if not isinstance(instances, list):
        raise ValueError(f"{where}: annotations must be a list, got {instances!r}")
    without_time = []
    for instance in instances:
        if not isinstance(instance, dict) or instance.get("label") is None:
            raise ValueError(f'{where}: an annotation must be {{"label": name, "segment": [s, e]}}, got {instance!r}')
        label = class_name(instance["label"], f"{where}: the label of an annotation")
        times = [instance.get(name) for name in ("start", "end")]
        segment = instance.get("segment", None if times == [None, None] else times)
        if segment is None:
            if unread := [name for name in instance if any(word in str(name).lower() for word in _WORDS_OF_TIMES)]:
                raise ValueError(
                    f'{where}: an annotation has no "segment" but {unread[0]!r}, which is not read; write '
                    '"segment": [start, end] in seconds'
                )
            without_time.append(label)
            continue
        if not isinstance(segment, list) or len(segment) != 2:
            raise ValueError(f"{where}: a segment must be [start, end] in seconds, got {segment!r}")
        start, end = (parse_number(time, "segment", where) for time in segment)
        annotation.segments.append((start, end, label))
    if "labels" in entry or without_time:
        implied = [] if "labels" in entry else [label for _, _, label in annotation.segments]
        annotation.labels = [*labels, *without_time, *implied]
    return annotation


def write_annotation_json(path: str | os.PathLike[str], annotations: Mapping[str, VideoAnnotation]) -> None:
    """Write annotations as `read_annotation_json` reads them, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    database = {}
    for video_id, annotation in annotations.items():
        entry: dict[str, Any] = {"subset": annotation.subset, "duration": annotation.duration}
        if annotation.labels is not None:
            entry["labels"] = annotation.labels
        entry["annotations"] = [{"label": label, "segment": [start, end]} for start, end, label in annotation.segments]
        database[video_id] = entry
    write_json(path, {"database": database})


def read_csv_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file as text: its header, and for each row the line where it begins and a dict, `""` for empty cells.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no header, a column twice, or a row of another length than the header; names the line.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header or len(set(header)) != len(header):
            raise ValueError(f"{path} must begin with a line that names each column once, got {header}")
        if len(header) == 1 and (other := next((sign for sign in ";\t" if sign in header[0]), None)):
            raise ValueError(f"{path} has {other!r} between its cells; save it with commas")
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) not in (0, len(header)):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}; put "
                    "cells that contain commas in quotes"
                )
            if cells:
                rows.append((line, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
            # Rows may be empty, and cells in quotes may hold line ends.
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; write such a table as JSON lines") from error
    return header, rows


def parse_number(text: Any, column: str, where: str) -> float:
    """Give a number of a file as float; text is read as CSV cells and some published JSON files write numbers.

    Raises:
        ValueError: it is none, or too large for a float; names the place.
    """
    try:
        if isinstance(text, bool):
            raise ValueError
        return float(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {column} must be a number, got {short_value(text)}") from error


def parse_whole_number(text: Any, column: str, where: str) -> int:
    """Give a whole number of a file, of at most 64 bits.

    Raises:
        ValueError: it is none; names the place.
    """
    number = parse_number(text, column, where)
    if not number.is_integer() or abs(number) >= 2**63:
        raise ValueError(f"{where}: {column} must be a whole number, got {short_value(text)}")
    return int(number) if isinstance(text, float) or not str(text).lstrip("+-").isdecimal() else int(text)


def _set_once(annotation: VideoAnnotation, name: str, value: Any, where: str) -> None:
    """Set a fact about a video that its other rows must not contradict."""
    if name in ("duration", "fps"):
        value = parse_number(value, name, where)
    elif name == "frames_per_snippet":
        value = parse_whole_number(value, name, where)
    elif name == "features" and isinstance(value, list):
        if len(value) != 2 or not all(isinstance(file, str) for file in value):
            raise ValueError(f"{where}: features must be a file or two files (rgb, flow), got {short_value(value)}")
    elif not isinstance(value, str):
        raise ValueError(f"{where}: {name} must be text, got {short_value(value)}")
    known = getattr(annotation, name)
    if known is not None and known != value:
        raise ValueError(
            f"{where}: {name} of video {annotation.video_id!r} is {value!r} but an earlier row says {known!r}"
        )
    setattr(annotation, name, value)
