"""YouTube-VIS 2019: videos with boxes and masks of instances in every annotated frame, read as one row a frame."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_io import read_json_object
from ...printable_text import short_value
from ..json_streams import stream_json_object
from .coco_instances import (
    ImageTable,
    InstanceFile,
    is_whole_number,
    optional_rles,
    read_categories,
    read_side,
)
from .mask_corpora import find_picture_folder
from .object_boxes import read_area, read_box

# `subtrain.json` is the part of the training videos that the official code of MAL scores on.
YOUTUBE_VIS_FILES = {
    "train": ("train.json", "annotations/train.json", "train/instances.json"),
    "subtrain": ("subtrain.json", "annotations/subtrain.json"),
    "validation": ("valid.json", "annotations/valid.json", "valid/instances.json"),
}
_FRAME_FOLDERS = {"validation": "valid"}


def is_video_file(path: str | os.PathLike[str]) -> bool:
    """Tell a file of videos from one of pictures: `videos` comes before any other list in it."""
    try:
        for key, _ in stream_json_object(path, ("videos", "images", "annotations", "categories")):
            if key not in ("info", "licenses", "type"):
                return key == "videos"
    except ValueError:
        return False
    return False


def find_frame_folder(root: Path, split: str, names: Sequence[str]) -> Callable[[str], Path]:
    """Give the file of a frame by its name in the annotations."""
    part = _FRAME_FOLDERS.get(split, "train")
    return find_picture_folder([root / part / "JPEGImages", root / "JPEGImages", root / part], names)


def read_youtube_vis(
    path: Path, split: str, *, with_masks: bool, unique_names: bool = True
) -> tuple[InstanceFile, dict[str, list[Any]]]:
    """Read a file of `videos`, `annotations` (with `bboxes` and `segmentations`, one for each frame) and `categories`.

    Args:
        path: the JSON file.
        split: first part of the ids of its videos and frames, as `subtrain.json` has videos of `train.json` again.
        with_masks: read the masks too.
        unique_names: refuse two categories of one name.

    Returns:
        Frames as pictures and boxes of instances in frames as annotations, numbered from 1; and what they have beside:
        `video_id` and `frame_index` of each frame, `instance_id` (the published annotation) of each box.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of this format; names the annotation.
    """
    content = read_json_object(path, "videos, annotations and categories of YouTube-VIS")
    missing = [key for key in ("videos", "annotations", "categories") if key not in content]
    if missing:
        raise ValueError(f"{path} has no {missing[0]!r}; YouTube-VIS has videos, annotations and categories")
    category_ids, category_names = read_categories(content["categories"], path, unique_names=unique_names)
    frames = _Frames(_list_of(content["videos"], "videos", path), path)
    boxes, rows, instance_ids, classes, areas, segmentations = [], [], [], [], [], []
    # The published file of the validation videos has null where its annotations are kept back.
    for annotation in _list_of(content["annotations"] or [], "annotations", path):
        if not is_whole_number(annotation.get("id")):
            raise ValueError(f"{path} has an annotation without a whole number as id: {short_value(annotation)}")
        name = f"{path}: annotation {annotation['id']}"
        first, num_frames = frames.of_video(annotation.get("video_id"), name)
        category_id = annotation.get("category_id")
        if not is_whole_number(category_id) or category_id not in category_ids:
            raise ValueError(f"{name} has the category_id {short_value(category_id)}, which the file has not")
        of_frames = {key: annotation.get(key) or [None] * num_frames for key in ("bboxes", "areas", "segmentations")}
        for key, values in of_frames.items():
            if not isinstance(values, list) or len(values) != num_frames:
                found = len(values) if isinstance(values, list) else short_value(values)
                raise ValueError(f"{name} has {found} {key}, but its video {num_frames} frames")
        for frame, (box, area, segmentation) in enumerate(zip(*of_frames.values(), strict=True)):
            if box is None:
                continue
            boxes.append(read_box(box, name))
            rows.append(first + frame)
            instance_ids.append(annotation["id"])
            classes.append(category_ids.index(category_id))
            areas.append(read_area(area, boxes[-1], name))
            segmentations.append(segmentation)
    images = ImageTable(
        [f"{split}/{Path(name).with_suffix('')}" for name in frames.names],
        frames.names,
        np.array(frames.heights, dtype=np.float64),
        np.array(frames.widths, dtype=np.float64),
    )
    names = [f"{path}: annotation {id}" for id in instance_ids]
    sizes = [(frames.heights[row], frames.widths[row]) for row in rows]
    file = InstanceFile(
        path=path,
        images=images,
        category_ids=category_ids,
        category_names=category_names,
        ids=np.arange(1, len(boxes) + 1),
        image_rows=np.array(rows, dtype=np.int64),
        category_rows=np.array(classes, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        areas=np.array(areas, dtype=np.float64),
        crowds=np.zeros(len(boxes), bool),
        rles=optional_rles(segmentations, sizes, names) if with_masks else None,
    )
    return file, {
        "video_id": [f"{split}/{video_id}" for video_id in frames.video_ids],
        "frame_index": frames.indices,
        "instance_id": np.array(instance_ids, dtype=np.int64),
    }


class _Frames:
    """All frames of all videos as one list."""

    def __init__(self, videos: Sequence[Mapping[str, Any]], path: Path) -> None:
        self.names: list[str] = []
        self.heights: list[int] = []
        self.widths: list[int] = []
        self.video_ids: list[str] = []
        self.indices: list[int] = []
        self._spans: dict[Any, tuple[int, int]] = {}
        for video in videos:
            missing = [key for key in ("id", "file_names", "height", "width") if video.get(key) is None]
            if missing:
                raise ValueError(f"{path} has a video without {missing[0]}: {sorted(video)}")
            id, names = video["id"], video["file_names"]
            if not isinstance(id, str) and not is_whole_number(id):
                raise ValueError(f"{path} has a video whose id is {short_value(id)}; expected a whole number or text")
            if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
                raise ValueError(
                    f"{path} has file_names of video {id} that are no list of names: {short_value(names)}"
                )
            if id in self._spans:
                raise ValueError(f"{path} has two videos with the id {id}")
            self._spans[id] = (len(self.names), len(names))
            self.names += names
            for sides, key in ((self.heights, "height"), (self.widths, "width")):
                sides += [read_side(video[key], f"{path} has the {key} {{}} of video {id}")] * len(names)
            self.video_ids += [str(id)] * len(names)
            self.indices += range(len(names))

    def of_video(self, video_id: Any, name: str) -> tuple[int, int]:
        """Give the number of a video's first frame and how many it has; `name` is whose video it is."""
        known = isinstance(video_id, str) or is_whole_number(video_id)
        if not known or video_id not in self._spans:
            raise ValueError(f"{name} has the video_id {short_value(video_id)}, but the file has no such video")
        return self._spans[video_id]


def _list_of(items: Any, what: str, path: Path) -> list[Mapping[str, Any]]:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError(f"{path} needs a list of objects under {what!r}, got {short_value(items)}")
    return items
