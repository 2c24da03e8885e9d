"""Published corpora of action detection: AVA v2.1 and v2.2, UCF101-24 and JHMDB-21, as their publishers lay them out.

Nothing is downloaded. `docs/data.md` shows the folders.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics.ava_files import (
    NO_ACTION,
    AvaRows,
    read_ava_rows,
    read_excluded_frames,
    read_label_map,
    whole_numbers,
)
from ...processing.decoding import probe_video
from ...processing.media_suffixes import VIDEO_SUFFIXES
from ..content_checks import name_some
from ..contracts import features_for
from .ava_classes import AVA_CLASSES
from .corpus_folders import corpus_folder
from .tube_annotations import read_tube_annotations

if TYPE_CHECKING:
    from datasets import DatasetDict

ACTION_TASK = "action-detection"
AVA_SPLITS = {"train": "train", "val": "validation"}
# Key times of a film in which every person is annotated, in seconds.
FIRST_SECOND, LAST_SECOND = 902, 1798
# Films that are cut to the annotated quarter of an hour begin here.
CUT_BEGIN = 900
# Of numbered frames, by which SlowFast's lists go.
AVA_FRAME_RATE, UCF_FRAME_RATE = 30.0, 25.0
FILM_FOLDERS = ("videos", "clips", "")
FRAME_FOLDERS = ("frames", "rgb-images", "Frames")

Columns = dict[str, list[Any]]


def read_published_action_corpus(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    media_dir: str | os.PathLike[str] | None = None,
    *,
    skip_missing_files: bool = False,
) -> "DatasetDict":
    """Read one of `PUBLISHED_ACTION_CORPORA` from its folder.

    Args:
        name: a key of `PUBLISHED_ACTION_CORPORA`.
        data_dir: folder of the annotations.
        media_dir: folder of the films or frames; None = `data_dir`.
        skip_missing_files: leave out videos that are not there, with a warning that counts them.

    Returns:
        Per split the columns of "action-detection".

    Raises:
        ValueError: without a folder, or for a file that is not of the layout; names file and row.
        FileNotFoundError: the folder, annotations or videos are missing.
    """
    root = corpus_folder(name, data_dir)
    media = root if media_dir is None else corpus_folder(name, media_dir)
    splits, class_names = PUBLISHED_ACTION_CORPORA[name](root, media)
    return _build(splits, class_names, name, skip_missing_files=skip_missing_files)


def read_ava(root: Path, media: Path, version: str) -> tuple[dict[str, Columns], list[str]]:
    """Read AVA: `ava_<split>_<version>.csv`, and where they are there its excluded key times and boxes of people.

    Of the 80 actions the 60 that are evaluated are kept; a person without one of them is kept without class. Rows of
    the validation split are all seconds from 902 to 1798, of the training split those with people.

    Args:
        root: folder of the CSV files, or of a folder `annotations` with them.
        media: folder of `videos/<id>.mp4`, `frames/<id>/00902/*.jpg` or `frames/<id>/<id>_000001.jpg` (30 a second
            from second 900 on).
        version: `"v2.1"` or `"v2.2"`.
    """
    folder = next((one for one in (root, root / "annotations") if any(one.glob(f"ava_*_{version}.csv"))), root)
    _check_label_maps(folder)
    splits = {}
    for short, split in AVA_SPLITS.items():
        path = folder / f"ava_{short}_{version}.csv"
        if path.is_file():
            excluded = folder / f"ava_{short}_excluded_timestamps_{version}.csv"
            left_out = set(read_excluded_frames(excluded)) if excluded.is_file() else set()
            proposals = _read_proposals(folder, short)
            every_second = split == "validation"
            splits[split] = _ava_columns(read_ava_rows(path), left_out, proposals, media, every_second=every_second)
    if not splits:
        raise FileNotFoundError(f"{root} has no ava_train_{version}.csv or ava_val_{version}.csv; unpack the archive")
    return splits, list(AVA_CLASSES.values())


def _check_label_maps(folder: Path) -> None:
    """Refuse a label map that names the evaluated actions otherwise; those of all 80 are fine."""
    for path in sorted(folder.glob("ava_action_list_*.pbtxt")):
        names = read_label_map(path)
        for action, name in AVA_CLASSES.items():
            if names.get(action) != name:
                raise ValueError(
                    f"{path} names action {action} {names.get(action)!r}, not {name!r}; it is none of AVA"
                )


def _read_proposals(folder: Path, short: str) -> AvaRows | None:
    """Read boxes of a person detector, as SlowFast's and other zoos name their files."""
    paths = sorted({*folder.glob(f"*{short}*predicted_boxes*.csv"), *folder.glob(f"*{short}*detection*boxes*.csv")})
    if len(paths) > 1:
        raise ValueError(
            f"{folder} has several files of detected people: {', '.join(p.name for p in paths)}; keep one"
        )
    return read_ava_rows(paths[0]) if paths else None


def _ava_columns(
    rows: AvaRows,
    excluded: set[tuple[str, float]],
    proposals: AvaRows | None,
    media: Path,
    *,
    every_second: bool,
) -> Columns:
    class_ids = {action: label for label, action in enumerate(AVA_CLASSES)}
    # Without a person's number every row is one.
    alone = -1.0 - np.arange(len(rows))
    persons = whole_numbers(
        np.where(np.isnan(rows.last), alone, rows.last),
        lambda row: f"{rows.path}, row {rows.numbers[row]}: the person",
    ).tolist()
    people: dict[tuple[str, float], dict[int, tuple[list[float], list[int]]]] = {
        frame: {} for frame in rows.empty_frames
    }
    has_area = (rows.boxes[:, 2:] > rows.boxes[:, :2]).all(axis=1)
    if not has_area.all():
        numbers = rows.numbers[~has_area].tolist()
        warnings.warn(
            f"{len(numbers)} rows of {rows.path} have boxes without area: {name_some(numbers)}; they are left out",
            stacklevel=5,
        )
    for row, (video, second) in enumerate(zip(rows.videos, rows.seconds.tolist(), strict=True)):
        if not has_area[row]:
            continue
        of_time = people.setdefault((video, second), {})
        _, labels = of_time.setdefault(persons[row], (rows.boxes[row].tolist(), []))
        action = int(rows.actions[row])
        if action in class_ids and class_ids[action] not in labels:
            labels.append(class_ids[action])
        elif action not in class_ids and action != NO_ACTION and not 1 <= action <= 80:
            raise ValueError(f"{rows.path}, row {rows.numbers[row]}: AVA's actions are 1 to 80, got {action}")
    if every_second:
        for video in dict.fromkeys(video for video, _ in people):
            for second in range(FIRST_SECOND, LAST_SECOND + 1):
                people.setdefault((video, float(second)), {})
    found = {video: _find_ava_video(media, video) for video in dict.fromkeys(video for video, _ in people)}
    first_film = next(
        (place for place, rate in found.values() if place and rate is None and os.path.isfile(place)), None
    )
    cut = first_film is not None and probe_video(first_film).duration < FIRST_SECOND
    detected = _proposals_by_time(proposals)
    columns: Columns = {}
    for (video, second), of_time in sorted(people.items()):
        place, rate = found[video]
        boxes, scores = detected.get((video, second), ([], []))
        row = {
            "video_id": video,
            "video": place,
            "timestamp": second - CUT_BEGIN if rate is not None or cut else second,
            "boxes": [box for box, _ in of_time.values()],
            "labels": [labels for _, labels in of_time.values()],
            "actor_ids": [person if person >= 0 else None for person in of_time],
            "excluded": (video, second) in excluded,
            "fps": rate,
        }
        if proposals is not None:
            row |= {"proposals": boxes, "proposal_scores": scores}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def _proposals_by_time(rows: AvaRows | None) -> Mapping[tuple[str, float], tuple[list[list[float]], list[float]]]:
    """Boxes and scores of the people that a detector found; a box that several rows name is one."""
    found: dict[tuple[str, float], dict[tuple[float, ...], float]] = {}
    if rows is not None:
        for row, key in enumerate(zip(rows.videos, rows.seconds.tolist(), strict=True)):
            score = 1.0 if np.isnan(rows.last[row]) else float(rows.last[row])
            box = tuple(rows.boxes[row].tolist())
            of_time = found.setdefault(key, {})
            of_time[box] = max(score, of_time.get(box, 0.0))
    return {key: ([list(box) for box in boxes], list(boxes.values())) for key, boxes in found.items()}


def _find_ava_video(media: Path, video: str) -> tuple[str | None, float | None]:
    """Give a film or folder of seconds, or a folder of numbered frames with its rate; None where there is neither."""
    for folder in FRAME_FOLDERS:
        place = media / folder / video
        if place.is_dir():
            in_seconds = any(child.is_dir() for child in place.iterdir())
            return str(place), None if in_seconds else AVA_FRAME_RATE
    return _find_film(media, video), None


def _find_film(media: Path, video: str) -> str | None:
    for folder in FILM_FOLDERS:
        for suffix in sorted(VIDEO_SUFFIXES):
            place = media / folder / f"{video}{suffix}"
            if place.is_file():
                return str(place)
    return None


def read_tubes(root: Path, media: Path, stems: Sequence[str]) -> tuple[dict[str, Columns], list[str]]:
    """Read UCF101-24 or JHMDB-21: the converted annotations (`tube_annotations.py`), first split, a row a frame.

    Args:
        root: folder of the annotations.
        media: folder of `videos/<class>/<name>.avi` or `rgb-images/<class>/<name>/00001.jpg` (25 a second).
        stems: names of the annotation file without suffix, the first that is there is read.
    """
    annotations = read_tube_annotations(root, stems)
    splits = {}
    for split, names in (("train", annotations.train[0]), ("test", annotations.test[0])):
        columns: Columns = {}
        for name in names:
            frames = next(
                (media / folder / name for folder in FRAME_FOLDERS if (media / folder / name).is_dir()), None
            )
            place = _find_film(media, name) if frames is None else str(frames)
            rate = UCF_FRAME_RATE if frames is not None else None
            for row in annotations.rows_of(name, UCF_FRAME_RATE):
                for key, value in {**row, "video": place, "fps": rate}.items():
                    columns.setdefault(key, []).append(value)
        splits[split] = columns
    return splits, annotations.labels


def _build(
    splits: Mapping[str, Columns], class_names: Sequence[str], name: str, *, skip_missing_files: bool
) -> "DatasetDict":
    from datasets import Dataset, DatasetDict

    built = DatasetDict()
    for split, columns in splits.items():
        if not columns:
            raise ValueError(f"the annotations of {name}, split {split!r}, are empty; copy or unpack them again")
        missing = dict.fromkeys(
            video for video, place in zip(columns["video_id"], columns["video"], strict=True) if place is None
        )
        if missing:
            sentence = f"{len(missing)} videos of {name}, split {split!r}, are missing: {name_some(missing)}"
            if not skip_missing_files:
                raise FileNotFoundError(f"{sentence}; give media_dir, or leave them out with skip_missing_files")
            warnings.warn(f"{sentence}; they are left out", stacklevel=4)
            kept = [row for row, place in enumerate(columns["video"]) if place is not None]
            columns = {column: [values[row] for row in kept] for column, values in columns.items()}
        built[split] = Dataset.from_dict(columns, features=features_for(ACTION_TASK, columns, class_names))
    return built


Reader = Callable[[Path, Path], tuple[dict[str, Columns], list[str]]]
PUBLISHED_ACTION_CORPORA: Mapping[str, Reader] = {
    "ava_v2.1": partial(read_ava, version="v2.1"),
    "ava_v2.2": partial(read_ava, version="v2.2"),
    "ucf101_24": partial(read_tubes, stems=("UCF101v2-GT", "UCF101-GT")),
    "jhmdb_21": partial(read_tubes, stems=("JHMDB-GT",)),
}
