"""What `hf-vidmodels label` will do: which boxes get a mask, which are dropped and why, and in which portions.

A portion is a few pictures with all their boxes. It follows from the input and the batch size alone, so that every box
is labelled in the same batch whoever does it, and its mask comes out the same to the last bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...data.instances.coco_instances import InstanceFile, read_detections, read_instance_file
from ...data.instances.mask_corpora import find_picture_folder, require_pictures, with_picture_sizes
from ...data.instances.object_boxes import BOX_RULES
from ...data.instances.youtube_vis import is_video_file, read_youtube_vis

# Why a box has no mask; the first two are the official code's, the others are boxes that cannot be right.
DROP_RULES = {
    "too_small": "a side of the box is at most {min_side:g} pixels long",
    "too_large": "the box has {max_area:g} square pixels or more",
    **{rule: f"the box {what.split(' of {width')[0]}" for rule, (what, _) in BOX_RULES.items()},
    "unreadable": "the picture cannot be read",
    "empty_mask": "no pixel is likely enough",
}
MAX_BOX_AREA = 1e9
# Batches in a portion: with several, little is lost by the last one, which is smaller.
BATCHES_IN_PORTION = 4


@dataclass(frozen=True)
class LabellingPlan:
    """The boxes of an instance file, or detections in its pictures, and what becomes of them.

    Attributes:
        file: boxes, pictures and categories.
        paths: file of each picture.
        dropped: for each rule of `DROP_RULES` that drops boxes before any picture is read, a boolean array (N,).
        order: (M,) rows of the boxes that get a mask, those of one picture together.
        portion_starts: (Q + 1,) where each portion begins in `order`, and the end.
        min_side: boxes with a side up to this many pixels get no mask.
        is_video: whether an annotation has a box in each of many frames (YouTube-VIS); then these are the boxes, in
            the order of annotations and frames, and `file.ids` are those of the annotations.
    """

    file: InstanceFile
    paths: list[str]
    dropped: dict[str, np.ndarray]
    order: np.ndarray
    portion_starts: np.ndarray
    min_side: float
    is_video: bool = False

    @property
    def num_portions(self) -> int:
        """Number of portions."""
        return len(self.portion_starts) - 1

    def rows(self, portion: int) -> np.ndarray:
        """Rows of the boxes in a portion, those of one picture together."""
        return self.order[self.portion_starts[portion] : self.portion_starts[portion + 1]]

    def by_picture(self, portion: int) -> Iterator[tuple[int, np.ndarray]]:
        """Give each picture of a portion (its row in `file.images`) and the rows of its boxes."""
        rows = self.rows(portion)
        pictures = self.file.image_rows[rows]
        for part in np.split(rows, np.flatnonzero(np.diff(pictures)) + 1):
            yield int(self.file.image_rows[part[0]]), part

    def corners(self, rows: np.ndarray) -> np.ndarray:
        """Boxes as (n, 4) xyxy, float32 as the network takes them."""
        boxes = self.file.boxes[rows].astype(np.float32)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    def size(self, picture: int) -> tuple[int, int]:
        """Height and width of a picture."""
        return int(self.file.images.heights[picture]), int(self.file.images.widths[picture])


def make_plan(
    annotations: Path,
    images: Path,
    *,
    detections: Path | None = None,
    min_side: float = 2,
    batch_size: int = 8,
    skip_invalid: bool = False,
) -> LabellingPlan:
    """Read the annotations and decide.

    Args:
        annotations: COCO instance file, or the file of YouTube-VIS.
        images: folder of its pictures.
        detections: COCO result list whose boxes take the place of the annotations.
        min_side: boxes with a side up to this get no mask.
        batch_size: crops in one forward pass.
        skip_invalid: drop boxes that cannot be right instead of refusing them.

    Raises:
        FileNotFoundError: a file or pictures are missing.
        ValueError: the file is no instance file, a box cannot be right, or no box is left; says how many each rule
            dropped.
    """
    is_video = annotations.is_file() and is_video_file(annotations)
    if is_video:
        if detections is not None:
            raise ValueError(f"boxes of a detector cannot take the place of those of videos, as {annotations} has")
        file, of_frames = read_youtube_vis(annotations, annotations.stem, with_masks=False, unique_names=False)
        file = replace(file, ids=of_frames["instance_id"])
    else:
        file = read_instance_file(annotations, unique_names=False)
        if detections is not None:
            file, _ = read_detections(detections, file)
    path_of = find_picture_folder([images], file.images.file_names)
    paths = [str(path_of(name)) for name in file.images.file_names]
    require_pictures(paths, file)
    file = with_picture_sizes(file, paths)
    if not skip_invalid:
        file.refuse_faulty_boxes()
    dropped = _dropped(file, min_side)
    kept = ~np.logical_or.reduce(list(dropped.values()))
    if not kept.any():
        raise ValueError(f"{detections or annotations} has no box to label: {describe_dropped(dropped, min_side)}")
    rows = np.flatnonzero(kept)
    order = rows[np.argsort(file.image_rows[rows], kind="stable")]
    starts = _portion_starts(file.image_rows[order], BATCHES_IN_PORTION * batch_size)
    return LabellingPlan(file, paths, dropped, order, starts, min_side, is_video)


def describe_dropped(dropped: dict[str, np.ndarray], min_side: float) -> str:
    """Say in words how many boxes each rule dropped."""
    counts = {rule: int(broken.sum()) for rule, broken in dropped.items() if broken.any()}
    parts = [f"{count} because {drop_reason(rule, min_side)}" for rule, count in counts.items()]
    total = len(next(iter(dropped.values())))
    return f"of {total} boxes, {', '.join(parts)} were dropped" if parts else "there are no boxes"


def drop_reason(rule: str, min_side: float) -> str:
    """Say in words why a rule drops a box."""
    return DROP_RULES[rule].format(min_side=min_side, max_area=MAX_BOX_AREA)


def _dropped(file: InstanceFile, min_side: float) -> dict[str, np.ndarray]:
    faults = file.box_faults()
    faulty = np.logical_or.reduce(list(faults.values()))
    with np.errstate(invalid="ignore", over="ignore"):
        too_small = (file.boxes[:, 2:] <= min_side).any(axis=1) & ~faulty
        too_large = (file.boxes[:, 2] * file.boxes[:, 3] >= MAX_BOX_AREA) & ~faulty
    return {"too_small": too_small, "too_large": too_large, **faults}


def _portion_starts(pictures: np.ndarray, capacity: int) -> np.ndarray:
    """Cut boxes that are sorted by picture into portions of at most `capacity` boxes.

    Pictures stay whole, so that each is read once, except those that alone have more boxes.
    """
    picture_starts = np.flatnonzero(np.diff(pictures, prepend=-1))
    starts = [0]
    for begin, end in zip(picture_starts, [*picture_starts[1:], len(pictures)], strict=True):
        if end - starts[-1] > capacity and begin > starts[-1]:
            starts.append(begin)
        while end - starts[-1] > capacity:
            starts.append(starts[-1] + capacity)
    return np.array([*starts, len(pictures)])
