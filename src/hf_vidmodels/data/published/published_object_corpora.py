"""Published corpora of one object per picture, with boxes: CUB-200-2011, ILSVRC, and the layout of wsolevaluation.

All read what their publishers distribute, in the folders they unpack to; nothing is downloaded. Boxes become xyxy in
pixels; `bbox` is the first of a picture's `boxes`.
"""

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...text_files import read_lines
from ..class_lists import MAX_CLASSES
from ..contracts import features_for
from ..own.temporal_annotations import parse_number
from .corpus_folders import corpus_folder

if TYPE_CHECKING:
    from datasets import DatasetDict

OBJECT_TASK = "object-localization"
COLUMNS = ("image", "label", "bbox", "image_id", "boxes")
WSOL_SPLITS = ("train", "val", "test")

Row = dict[str, Any]


def read_published_object_corpus(name: str, data_dir: Path | None) -> "DatasetDict":
    """Read one of `PUBLISHED_OBJECT_CORPORA` from its folder.

    Args:
        name: a key of `PUBLISHED_OBJECT_CORPORA`.
        data_dir: the folder, see the reader of the corpus.

    Returns:
        Per split the columns of "object-localization", with `image_id` and all `boxes` of each picture.

    Raises:
        ValueError: without a folder, or for a line or file that is not of the layout.
        FileNotFoundError: the folder, a list or pictures are missing.
    """
    root = corpus_folder(name, data_dir)
    splits, class_names = PUBLISHED_OBJECT_CORPORA[name](root)
    return _build(splits, class_names, root)


def read_cub200(root: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """Read CUB-200-2011: `images.txt`, `classes.txt`, `image_class_labels.txt`, `bounding_boxes.txt` and so on.

    The folder is the unpacked `CUB_200_2011`; boxes are x, y, width, height there.
    """
    paths, boxes = _table(root / "images.txt", 2), _table(root / "bounding_boxes.txt", 5)
    labels, is_train = _table(root / "image_class_labels.txt", 2), _table(root / "train_test_split.txt", 2)
    class_names = [name for (name,) in _table(root / "classes.txt", 2).values()]
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for key, (path,) in paths.items():
        missing = next((what for what, table in (("box", boxes), ("class", labels)) if key not in table), None)
        if missing or key not in is_train:
            raise ValueError(
                f"{root} has no {missing or 'split'} for picture {key} ({path}); unpack the archive again"
            )
        where = f"{root / 'bounding_boxes.txt'}, picture {key}"
        x, y, width, height = (parse_number(side, "a side of a box", where) for side in boxes[key])
        row = {
            "image": str(root / "images" / path),
            "image_id": path,
            "label": _class_id(labels[key][0], f"{root / 'image_class_labels.txt'}, picture {key}") - 1,
            "boxes": [[x, y, x + width, y + height]],
        }
        splits["train" if is_train[key][0] == "1" else "test"].append(row)
    return splits, class_names


def read_ilsvrc(root: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """Read folders of ILSVRC: `Data/CLS-LOC/<split>` with pictures, `Annotations/CLS-LOC/<split>` with VOC XML.

    Every picture with an XML file is read, of each split that has any; pictures may lie in folders of their class.
    Classes are the synsets, sorted, which is their usual order when all thousand are there.
    """
    folders = sorted(folder for folder in (root / "Annotations" / "CLS-LOC").glob("*") if folder.is_dir())
    if not folders:
        raise FileNotFoundError(f"{root} has no Annotations/CLS-LOC/<split> with XML files; unpack the annotations")
    found = {
        folder.name: {file: read_voc_objects(file) for file in sorted(folder.rglob("*.xml"))} for folder in folders
    }
    class_names = sorted({name for files in found.values() for names, _ in files.values() for name in names})
    splits = {}
    for split, files in found.items():
        pictures = root / "Data" / "CLS-LOC" / split
        annotations = root / "Annotations" / "CLS-LOC" / split
        splits[split] = [
            {
                "image": str(pictures / file.relative_to(annotations).with_suffix(".JPEG")),
                "image_id": file.stem,
                "label": class_names.index(names[0]),
                "boxes": boxes,
            }
            for file, (names, boxes) in files.items()
        ]
    return {{"val": "validation"}.get(split, split): rows for split, rows in splits.items()}, class_names


def read_wsol(root: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """Read the layout of the localisation evaluator: `metadata/<split>/*.txt` and the pictures in `images`.

    Of each split `image_ids.txt`, `class_labels.txt` (path,label) and `localization.txt` (path,x0,y0,x1,y1, a line
    for each box). Training splits without boxes are left out; masks are not read.
    """
    splits: dict[str, list[Row]] = {}
    labels: dict[str, int] = {}
    for split in WSOL_SPLITS:
        folder = root / "metadata" / split
        if not (folder / "localization.txt").is_file():
            continue
        boxes = defaultdict(list)
        for number, line in _lines(folder / "localization.txt"):
            path, *values = line.split(",")
            if len(values) != 4:
                raise ValueError(f"{folder}/localization.txt, line {number}: expected path,x0,y0,x1,y1, got {line!r}")
            where = f"{folder}/localization.txt, line {number}"
            boxes[path].append([parse_number(value, "a side of a box", where) for value in values])
        for number, line in _lines(folder / "class_labels.txt"):
            path, _, label = line.rpartition(",")
            labels[path] = _class_id(label.strip(), f"{folder}/class_labels.txt, line {number}: {line!r}")
        ids = [line for _, line in _lines(folder / "image_ids.txt")]
        without = [path for path in ids if path not in boxes or path not in labels]
        if without:
            raise ValueError(f"{folder} has no box or class for {len(without)} pictures, the first is {without[0]}")
        splits[split] = [
            {"image": str(root / "images" / path), "image_id": path, "label": labels[path], "boxes": boxes[path]}
            for path in ids
        ]
    if not splits:
        raise FileNotFoundError(
            f"{root} has no metadata/<split>/localization.txt; give the folder that holds metadata"
        )
    return splits, [str(label) for label in range(max(labels.values()) + 1)]


PUBLISHED_OBJECT_CORPORA: dict[str, Callable[[Path], tuple[dict[str, list[Row]], list[str]]]] = {
    "cub200": read_cub200,
    "ilsvrc": read_ilsvrc,
    "wsol": read_wsol,
}


def _build(splits: dict[str, list[Row]], class_names: list[str], root: Path) -> "DatasetDict":
    from datasets import Dataset, DatasetDict

    missing = [row["image"] for rows in splits.values() for row in rows if not Path(row["image"]).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} pictures are missing in {root}, the first is {missing[0]}")
    features = features_for(OBJECT_TASK, COLUMNS, class_names)
    return DatasetDict(
        {
            name: Dataset.from_list([{**row, "bbox": row["boxes"][0]} for row in rows], features=features)
            for name, rows in splits.items()
            if rows
        }
    )


def read_voc_objects(file: Path) -> tuple[list[str], list[list[float]]]:
    """Give names and boxes (corners as written) of the objects in one VOC file.

    Raises:
        ValueError: it is no such file, or has no object.
    """
    try:
        objects = ElementTree.parse(file).getroot().findall("object")
        names = [found.findtext("name") for found in objects]
        corners = ("xmin", "ymin", "xmax", "ymax")
        boxes = [[float(found.find("bndbox").findtext(corner)) for corner in corners] for found in objects]
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no VOC annotation with <object><name> and <bndbox>: {error}") from error
    if not objects:
        raise ValueError(f"{file} has no <object>; every picture needs a box")
    return names, boxes


def _class_id(text: str, where: str) -> int:
    """Give a class id as lists write it; classes are as many as the largest says, so it has a bound."""
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(MAX_CLASSES)) or int(text) >= MAX_CLASSES:
        raise ValueError(f"{where}: expected path,label with a class id below {MAX_CLASSES}, got {text!r}")
    return int(text)


def _table(path: Path, num_columns: int) -> dict[str, list[str]]:
    """Read lines `key value ...` by key."""
    table = {}
    for number, line in _lines(path):
        key, *values = line.split(" ")
        if len(values) != num_columns - 1:
            raise ValueError(f"{path}, line {number}: expected {num_columns} columns, got {line!r}")
        table[key] = values
    return table


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    """Give the lines of a list with their numbers, empty ones left out."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; unpack the corpus again")
    return read_lines(path)
