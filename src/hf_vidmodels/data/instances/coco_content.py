"""A corpus for mask labelling written as a COCO instance file, for tools that read those."""

import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...atomic_io import write_json

if TYPE_CHECKING:
    from datasets import Dataset


def coco_content(dataset: "Dataset") -> dict[str, Any]:
    """Give the content of the instance file that says what a data set says.

    Args:
        dataset: one split with the columns of "mask-labeling".

    Returns:
        `images`, `annotations` and `categories`. Ids of pictures are kept when they are numbers and otherwise counted
        from 1; `file_name` is that of the data set, or the name of the picture's file. Objects without id are
        counted from 1 too. Classes keep the published ids that their objects say; others get further numbers.
    """
    from datasets import Image

    rows = dataset.cast_column("image", Image(decode=False))
    names = dataset.features["objects"].feature["category"].names
    category_ids = _category_ids(dataset, len(names))
    images, annotations = [], []
    for number, row in enumerate(rows, start=1):
        image_id = row["image_id"] if isinstance(row["image_id"], int) else number
        name = row.get("file_name") or os.path.basename(row["image"]["path"] or "") or f"{image_id}.png"
        height, width = row.get("height"), row.get("width")
        if height is None or width is None:
            width, height = dataset[number - 1]["image"].size
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for item in row["objects"]:
            annotation = {
                "id": item["id"] if item["id"] is not None else len(annotations) + 1,
                "image_id": image_id,
                "category_id": category_ids[item["category"]],
                "bbox": list(item["bbox"]),
                "area": item["area"] if item["area"] is not None else item["bbox"][2] * item["bbox"][3],
                "iscrowd": item["iscrowd"] or 0,
            }
            if item.get("segmentation") is not None:
                annotation["segmentation"] = item["segmentation"]
            annotations.append(annotation)
    categories = [{"id": category_ids[position], "name": name} for position, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _category_ids(dataset: "Dataset", num_classes: int) -> dict[int, int]:
    """Give the id of each class by its position."""
    published = {}
    if "category_id" in dataset.features["objects"].feature:
        for objects in dataset["objects"]:
            published |= {item["category"]: item["category_id"] for item in objects if item["category_id"] is not None}
    unnamed = [position for position in range(num_classes) if position not in published]
    return published | dict(zip(unnamed, count(max(published.values(), default=0) + 1), strict=False))


def write_instance_file(dataset: "Dataset", path: str | os.PathLike[str]) -> Path:
    """Write `coco_content`; its pictures stay where they are, and `file_name`s say where from the folder given back.

    Returns:
        The folder that all pictures lie below.

    Raises:
        ValueError: the pictures of the data set are not files.
        OSError: the file cannot be written.
    """
    from datasets import Image

    content = coco_content(dataset)
    paths = [row["path"] for row in dataset.cast_column("image", Image(decode=False))["image"]]
    if not paths or not all(path and os.path.isfile(path) for path in paths):
        raise ValueError("the pictures of the data set are no files, so a COCO file cannot name them; save them")
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    for image, picture in zip(content["images"], paths, strict=True):
        image["file_name"] = Path(os.path.relpath(picture, folder)).as_posix()
    write_json(path, content)
    return Path(folder)
