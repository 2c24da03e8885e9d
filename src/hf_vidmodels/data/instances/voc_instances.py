"""PASCAL VOC 2012 as its archive unpacks: boxes from XML files, masks from `SegmentationObject`.

Boxes there count pixels from 1 and include the last one; here they are x, y, width, height from 0. The pixels of the
n-th object of an XML file have the value n in its picture of masks, 255 is its border.
"""

from pathlib import Path

import numpy as np

from ...modeling.ops.run_length_masks import Rle, encode_masks
from ...text_files import read_lines
from ..published.published_classes import VOC2012_CLASSES
from ..published.published_object_corpora import read_voc_objects
from .coco_instances import ImageTable, InstanceFile

# Of a box and the mask of its number; below it the two files do not belong together.
LEAST_OVERLAP = 0.3


def find_voc_folder(root: Path) -> Path | None:
    """Find the folder that holds `Annotations` and `ImageSets`, or give None."""
    places = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    return next((place for place in places if (place / "ImageSets" / "Segmentation").is_dir()), None)


def read_voc_split(folder: Path, split: str) -> InstanceFile | None:
    """Read the pictures that `ImageSets/Segmentation/<split>.txt` lists, or give None where there is no such list.

    Raises:
        FileNotFoundError: an XML file is missing.
        ValueError: an XML file or a picture of masks is not as it should be, or the two do not fit.
    """
    listed = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listed.is_file():
        return None
    names = [line for _, line in read_lines(listed)]
    boxes, classes, rows, rles, sizes = [], [], [], [], []
    for row, name in enumerate(names):
        xml = folder / "Annotations" / f"{name}.xml"
        if not xml.is_file():
            raise FileNotFoundError(f"{xml} is missing, but {listed} lists it")
        found, corners = read_voc_objects(xml)
        unknown = next((label for label in found if label not in VOC2012_CLASSES), None)
        if unknown:
            raise ValueError(f"{xml} has the class {unknown!r}, which VOC 2012 does not have")
        edges = np.array(corners)
        of_picture = np.concatenate([edges[:, :2] - 1, edges[:, 2:] - edges[:, :2] + 1], axis=1)
        masks, size = _read_masks(folder / "SegmentationObject" / f"{name}.png", of_picture)
        boxes.append(of_picture)
        classes += [VOC2012_CLASSES.index(label) for label in found]
        rows += [row] * len(found)
        rles += masks
        sizes.append(size)
    corners = np.concatenate(boxes) if boxes else np.zeros((0, 4))
    return InstanceFile(
        path=listed,
        images=ImageTable(names, [f"{name}.jpg" for name in names], *np.array(sizes, float).reshape(-1, 2).T),
        category_ids=list(range(1, len(VOC2012_CLASSES) + 1)),
        category_names=list(VOC2012_CLASSES),
        ids=np.arange(1, len(corners) + 1),
        image_rows=np.array(rows, dtype=np.int64),
        category_rows=np.array(classes, dtype=np.int64),
        boxes=corners,
        areas=corners[:, 2] * corners[:, 3],
        crowds=np.zeros(len(corners), bool),
        rles=None if split == "train" else rles,
    )


def _read_masks(path: Path, boxes: np.ndarray) -> tuple[list[Rle | None], tuple[float, float]]:
    """Read the masks of the objects with these boxes, None for all where there is no picture; and its size."""
    from PIL import Image

    if not path.is_file():
        return [None] * len(boxes), (np.nan, np.nan)
    try:
        with Image.open(path) as picture:
            numbers = np.array(picture)
    except Exception as error:
        # Pillow's decoders raise whatever their parsing runs into.
        raise ValueError(f"{path} cannot be read as a picture of masks") from error
    if numbers.ndim != 2:
        raise ValueError(f"{path} must have one channel, the number of the object, got shape {numbers.shape}")
    rles: list[Rle | None] = []
    for number, box in enumerate(boxes, start=1):
        mask = numbers == number
        if mask.any() and _overlap(mask, box) < LEAST_OVERLAP:
            raise ValueError(f"{path}: the pixels of object {number} lie elsewhere than its box {box.tolist()}")
        rles.append(encode_masks(mask[None])[0] if mask.any() else None)
    return rles, numbers.shape


def _overlap(mask: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of a box x, y, width, height with the box around a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    around = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    shared = np.clip(np.minimum(around[2:], corners[2:]) - np.maximum(around[:2], corners[:2]), 0, None).prod()
    return shared / ((around[2:] - around[:2]).prod() + box[2:].prod() - shared)
