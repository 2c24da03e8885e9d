"""COCO instance files (`images`, `annotations`, `categories`) read into columns, and checked.

The file is streamed and no object of Python stays for an annotation, so that files of tens of millions of boxes fit
into memory. Everything that cannot be right is refused in a sentence that names the annotation's id.
"""

import math
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...modeling.ops.run_length_masks import MOST_PIXELS, Rle, segmentation_rles
from ...printable_text import short_value
from ..json_streams import stream_json_list, stream_json_object
from .object_boxes import find_box_faults, read_area, read_box, refuse_faulty_boxes

LISTS = ("images", "annotations", "categories")
# Lists of files that have `annotations` or `categories` of another kind: YouTube-VIS, labelme, Datumaro.
_OTHER_LISTS = ("videos", "shapes", "items")
_SEGMENTATIONS_AT_ONCE = 4096


@dataclass(frozen=True)
class ImageTable:
    """The pictures of an instance file, in its order.

    Attributes:
        ids: whole numbers, or str.
        file_names: relative to the folder of pictures.
        heights: (P,) pixels, NaN where the file does not say.
        widths: likewise.
    """

    ids: list[Any]
    file_names: list[str]
    heights: np.ndarray
    widths: np.ndarray


@dataclass(frozen=True)
class InstanceFile:
    """The annotations of an instance file as columns, in its order.

    Attributes:
        path: the file.
        images: its pictures.
        category_ids: ids of its categories, in its order.
        category_names: their names.
        ids: (N,) int64 of the annotations.
        image_rows: (N,) row of each one's picture in `images`.
        category_rows: (N,) position of each one's category.
        boxes: (N, 4) float64 x, y, width, height in pixels.
        areas: (N,) square pixels; that of the box where the file gives none.
        crowds: (N,) bool.
        rles: mask of each annotation that has one, else None; None for the whole when masks were not asked for.
    """

    path: Path
    images: ImageTable
    category_ids: list[int]
    category_names: list[str]
    ids: np.ndarray
    image_rows: np.ndarray
    category_rows: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    rles: list[Rle | None] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def heights(self) -> np.ndarray:
        """(N,) height of each annotation's picture."""
        return self.images.heights[self.image_rows]

    @property
    def widths(self) -> np.ndarray:
        """(N,) width of each annotation's picture."""
        return self.images.widths[self.image_rows]

    def box_faults(self) -> dict[str, np.ndarray]:
        """Find the boxes that cannot be right, as `find_box_faults`."""
        return find_box_faults(self.boxes, self.heights, self.widths)

    def refuse_faulty_boxes(self) -> None:
        """Raise ValueError for a box that cannot be right, naming its annotation."""
        refuse_faulty_boxes(self.boxes, _Names(self.ids), self.heights, self.widths, f"{self.path}: ")

    def select(self, chosen: np.ndarray) -> "InstanceFile":
        """Give a file of some annotations (a boolean array) and all pictures."""
        columns = ("ids", "image_rows", "category_rows", "boxes", "areas", "crowds")
        rles = None if self.rles is None else [self.rles[row] for row in np.flatnonzero(chosen)]
        return replace(self, rles=rles, **{name: getattr(self, name)[chosen] for name in columns})


def is_instance_file(path: str | os.PathLike[str]) -> bool:
    """Tell an instance file from other JSON: one of its lists comes before what files of other kinds have."""
    try:
        for key, _ in stream_json_object(path, (*LISTS, *_OTHER_LISTS)):
            if key in LISTS:
                return True
            if key in _OTHER_LISTS:
                return False
    except ValueError:
        return False
    return False


def read_instance_file(
    path: str | os.PathLike[str], *, with_masks: bool = False, unique_names: bool = True
) -> InstanceFile:
    """Read an instance file; boxes are not checked for their values here.

    Args:
        path: the JSON file. A picture without `file_name` gets the last two parts of its `coco_url` (LVIS).
        with_masks: read `segmentation` (polygons or RLE of either kind) as compressed RLE.
        unique_names: refuse two categories of one name, as a list of classes has each name once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no JSON, a list that is missing, or an annotation that does not fit; names file and annotation.
    """
    path = Path(path)
    images = categories = None
    columns = _Columns(path, with_masks)
    for key, items in stream_json_object(path, ("images", "annotations")):
        if key == "images":
            images = _read_images(items, path)
            columns.know_images(images)
        elif key == "categories":
            categories = read_categories(items, path, unique_names=unique_names)
        elif key == "annotations":
            columns.read(items)
    for name, found in (("images", images), ("annotations", columns.is_read or None), ("categories", categories)):
        if found is None:
            raise ValueError(f"{path} has no {name!r}; a COCO instance file has images, annotations and categories")
    return columns.finish(images, *categories)


def read_detections(path: str | os.PathLike[str], file: InstanceFile) -> tuple[InstanceFile, np.ndarray]:
    """Read a list of COCO results, `{image_id, category_id, bbox, score}`, in place of the annotations of a file.

    Args:
        path: the JSON list.
        file: knows the pictures and categories.

    Returns:
        The detections as annotations, numbered from 1 in the order of the list, and their scores.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such list, or a detection does not fit; names its number.
    """
    path = Path(path)
    columns = _Columns(path, False, "detection")
    scores = array("d")

    def numbered() -> Iterator[Any]:
        for number, item in enumerate(stream_json_list(path), start=1):
            score = item.get("score") if isinstance(item, Mapping) else None
            if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
                raise ValueError(f"{path}: detection {number} has no score that is a number: {short_value(item)}")
            scores.append(score)
            yield {**item, "id": number}

    columns.read(numbered())
    return columns.finish(file.images, file.category_ids, file.category_names), np.array(scores, dtype=np.float64)


def _read_images(items: Iterator[Any], path: Path) -> ImageTable:
    ids, file_names, heights, widths = [], [], array("d"), array("d")
    for item in items:
        id = item.get("id") if isinstance(item, Mapping) else None
        if not isinstance(id, str) and not is_whole_number(id):
            raise ValueError(f"{path} has a picture without an id: {short_value(item)}")
        name = item.get("file_name") or "/".join(str(item.get("coco_url") or "").split("/")[-2:])
        if not name or not isinstance(name, str):
            raise ValueError(f"{path} has no file_name of picture {id}")
        ids.append(id)
        file_names.append(name)
        for sides, key in ((heights, "height"), (widths, "width")):
            side = item.get(key)
            sides.append(
                float("nan") if side is None else read_side(side, f"{path} has the {key} {{}} of picture {id}")
            )
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path} has two pictures with the id {_first_repeated(ids)}; ids are given once")
    if len({type(id) for id in ids}) > 1:
        raise ValueError(f"{path} has ids of pictures that are numbers and others that are text; use one kind")
    return ImageTable(ids, file_names, np.array(heights), np.array(widths))


def is_whole_number(value: Any) -> bool:
    """Tell whole numbers that columns can hold from other values of JSON, booleans among them."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def read_side(value: Any, sentence: str) -> int:
    """Give the height or width of a picture.

    Args:
        value: of the file.
        sentence: beginning of the error, with `{}` for the value.

    Raises:
        ValueError: it is no positive whole number of pixels.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not is_whole_number(value) or not 0 < value <= MOST_PIXELS:
        raise ValueError(f"{sentence.format(short_value(value))}; expected pixels, a positive whole number")
    return value


def read_categories(items: Any, path: Path, *, unique_names: bool = True) -> tuple[list[int], list[str]]:
    """Give ids and names of the list of categories in the file `path`, in its order.

    Raises:
        ValueError: it is no such list, or an id or, with `unique_names`, a name stands there twice.
    """
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} needs a list of categories, each with id and name, got {short_value(items)}")
    wrong = [
        item
        for item in items
        if not isinstance(item, Mapping)
        or not is_whole_number(item.get("id"))
        or "name" not in item
        # Where names are those of classes, null would become a class `None`.
        or (unique_names and (isinstance(item["name"], bool) or not isinstance(item["name"], str | int)))
    ]
    if wrong:
        raise ValueError(
            f"{path} has a category without id and name (a whole number, a text): {short_value(wrong[0])}"
        )
    ids, names = [item["id"] for item in items], [str(item["name"]) for item in items]
    for what, values in (("id", ids), *([("name", names)] if unique_names else [])):
        if len(set(values)) < len(values):
            raise ValueError(f"{path} has two categories with the {what} {_first_repeated(values)!r}; rename one")
    return ids, names


class _Columns:
    """The columns of annotations while they are read."""

    def __init__(self, path: Path, with_masks: bool, what: str = "annotation") -> None:
        self.is_read = False
        self._path = path
        self._what = what
        self._ids, self._crowds = array("q"), array("b")
        self._boxes, self._areas = array("d"), array("d")
        self._images, self._categories = _References(), _References()
        self._rles: list[Rle | None] | None = [] if with_masks else None
        self._waiting: list[Any] = []
        self._sizes: dict[Any, tuple[int, int]] | None = None

    def know_images(self, images: ImageTable) -> None:
        if self._rles is not None:
            sides = np.stack([images.heights, images.widths], axis=1).tolist()
            self._sizes = dict(zip(images.ids, sides, strict=True))

    def read(self, items: Iterator[Any]) -> None:
        self.is_read = True
        for item in items:
            self._append(item)
            if self._rles is not None:
                self._waiting.append(item.get("segmentation"))
                if len(self._waiting) >= _SEGMENTATIONS_AT_ONCE and self._sizes is not None:
                    self._encode_waiting()

    def _append(self, item: Any) -> None:
        id = item.get("id") if isinstance(item, Mapping) else None
        if not is_whole_number(id):
            raise ValueError(f"{self._path} has an {self._what} without a whole number as id: {short_value(item)}")
        name = f"{self._path}: {self._what} {id}"
        for key in ("image_id", "category_id", "bbox"):
            if item.get(key) is None:
                raise ValueError(f"{name} has no {key}")
        box = read_box(item["bbox"], name)
        crowd = item.get("iscrowd") or 0
        if isinstance(crowd, bool | int) and crowd in (0, 1):
            self._crowds.append(crowd)
        else:
            raise ValueError(f"{name} has the iscrowd {short_value(crowd)}; expected the number 0 or 1")
        self._ids.append(id)
        self._images.append(item["image_id"])
        self._categories.append(item["category_id"])
        self._boxes.extend(box)
        self._areas.append(read_area(item.get("area"), box, name))

    def finish(self, images: ImageTable, category_ids: list[int], category_names: list[str]) -> InstanceFile:
        ids = np.array(self._ids, dtype=np.int64)
        if len(np.unique(ids)) < len(ids):
            raise ValueError(
                f"{self._path} has two annotations with the id {_first_repeated(ids.tolist())}; ids are given once"
            )
        image_rows = self._rows(self._images, images.ids, "image_id", "picture")
        category_rows = self._rows(self._categories, category_ids, "category_id", "category")
        if self._rles is not None:
            self._encode_waiting()
        return InstanceFile(
            path=self._path,
            images=images,
            category_ids=category_ids,
            category_names=category_names,
            ids=ids,
            image_rows=image_rows,
            category_rows=category_rows,
            boxes=np.array(self._boxes, dtype=np.float64).reshape(-1, 4),
            areas=np.array(self._areas, dtype=np.float64),
            crowds=np.array(self._crowds, dtype=bool),
            rles=self._rles,
        )

    def _rows(self, references: "_References", known: Sequence[Any], key: str, what: str) -> np.ndarray:
        position = {id: row for row, id in enumerate(known)}
        unknown = [id for id in references.distinct if id not in position]
        if unknown:
            first = references.numbers.index(references.distinct[unknown[0]])
            others = f" (nor of {len(unknown) - 1} other ids)" if len(unknown) > 1 else ""
            raise ValueError(
                f"{self._path}: {self._what} {self._ids[first]} has the {key} {unknown[0]!r}, but there is no such "
                f"{what}{others}"
            )
        rows = np.array([position[id] for id in references.distinct], dtype=np.int64)
        return rows[np.array(references.numbers, dtype=np.int64)]

    def _encode_waiting(self) -> None:
        """Turn the segmentations that were read last into RLEs."""
        rows = range(len(self._rles), len(self._rles) + len(self._waiting))
        unknown = (float("nan"), float("nan"))
        sizes = [self._sizes.get(self._images.ids[self._images.numbers[row]], unknown) for row in rows]
        names = [f"{self._path}: annotation {self._ids[row]}" for row in rows]
        self._rles += optional_rles(self._waiting, sizes, names)
        self._waiting = []


def optional_rles(
    segmentations: Sequence[Any], sizes: Sequence[tuple[float, float]], names: Sequence[str]
) -> list[Rle | None]:
    """Encode segmentations as `segmentation_rles`, where there are any; None or nothing in them gives None.

    Args:
        segmentations: polygons, RLEs of either kind, or None.
        sizes: height and width of the picture of each; NaN where unknown.
        names: what each is called in errors.

    Raises:
        ValueError: a segmentation is malformed, or the size of its picture unknown; names it.
    """
    given = [number for number, segmentation in enumerate(segmentations) if segmentation]
    for number in given:
        if not np.isfinite(sizes[number]).all():
            raise ValueError(
                f"{names[number]} has a segmentation, but its picture no height and width; add them to the images"
            )
    rles = segmentation_rles(
        [segmentations[number] for number in given],
        [(int(sizes[number][0]), int(sizes[number][1])) for number in given],
        [names[number] for number in given],
    )
    found = dict(zip(given, rles, strict=True))
    return [found.get(number) for number in range(len(segmentations))]


class _References:
    """Ids that annotations refer to, numbered as they come: few objects for many references."""

    def __init__(self) -> None:
        self.distinct: dict[Any, int] = {}
        self.ids: list[Any] = []
        self.numbers = array("q")

    def append(self, id: Any) -> None:
        # What is neither is an id of nothing; true would count as 1.
        id = id if isinstance(id, str) or is_whole_number(id) else repr(id)
        number = self.distinct.setdefault(id, len(self.ids))
        if number == len(self.ids):
            self.ids.append(id)
        self.numbers.append(number)


class _Names(Sequence):
    """`annotation 12` for the annotations of a column of ids, made when one is asked for."""

    def __init__(self, ids: np.ndarray) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, row: int) -> str:
        return f"annotation {self._ids[row]}"


def _first_repeated(values: Sequence[Any]) -> Any:
    seen: set[Any] = set()
    return next(value for value in values if value in seen or seen.add(value))
