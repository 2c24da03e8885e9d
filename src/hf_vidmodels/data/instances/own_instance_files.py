"""A user's folder of pictures with COCO instance files, or one such file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..split_names import SPLIT_NAMES
from .coco_instances import is_instance_file, read_instance_file
from .mask_corpora import build_mask_dataset, find_picture_folder

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# Where instance files lie, in this order; the first pattern with one counts. The last two take files of any name.
PATTERNS = (
    "annotations.json",
    "instances.json",
    "instances*.json",
    "annotations/instances*.json",
    "annotations/*.json",
    "_annotations.coco.json",
    "*/_annotations.coco.json",
    *(ANY_NAME := ("*.json", "*/*.json")),
)
TABLE_PATTERNS = ("*.csv", "*.jsonl", "metadata.json")
# More JSON files than this are annotations of single pictures.
MOST_FILES = 32
DEFAULT_SPLIT = "train"


@dataclass(frozen=True)
class _File:
    """An instance file and the name of its part of the corpus, empty where it has none."""

    path: Path
    part: str

    @property
    def split(self) -> str:
        name = self.part.rstrip("0123456789_-").lower()
        return SPLIT_NAMES.get(name, self.part) or DEFAULT_SPLIT


def find_instance_files(path: Path) -> list[_File]:
    """Find the instance files of a folder, or take one file; empty when there is none."""
    if path.is_file():
        return [_File(path, _part_of(path))] if path.suffix == ".json" and is_instance_file(path) else []
    has_table = any(next(path.glob(pattern), None) for pattern in TABLE_PATTERNS)
    for pattern in PATTERNS:
        of_any_name = pattern in ANY_NAME
        files = sorted(path.glob(pattern))
        if of_any_name and (has_table or len(files) > MOST_FILES):
            continue
        found = [file for file in files if is_instance_file(file)]
        if found:
            return [_File(file, _split_word(file, path) if of_any_name else _part_of(file)) for file in found]
    return []


def read_own_instance_files(root: Path, files: list[_File], data_dir: Path | None) -> "DatasetDict":
    """Read instance files as a corpus for mask labelling, a split each.

    Args:
        root: the folder, or the folder of the one file.
        files: as `find_instance_files` gives them.
        data_dir: folder of the pictures; where None they are looked for beside the files.

    Raises:
        FileNotFoundError: pictures are missing.
        ValueError: a file that is none of the format, names the annotation; two files of one split; or a picture
            in two splits.
    """
    from datasets import DatasetDict

    splits: dict[str, Dataset] = {}
    split_of: dict[Path, str] = {}
    for file in files:
        if file.split in splits:
            raise ValueError(f"{root} has two instance files of split {file.split!r}, one is {file.path}; keep one")
        content = read_instance_file(file.path, with_masks=True)
        if not any(content.rles):
            content = replace(content, rles=None)
        path_of = find_picture_folder(list(_picture_places(root, file, data_dir)), content.images.file_names)
        # Ids may begin anew in each file, so they do not tell whether a picture is in two splits.
        for path in map(path_of, content.images.file_names):
            if split_of.setdefault(path, file.split) != file.split:
                raise ValueError(
                    f"the picture {path} is in split {split_of[path]!r} and in split {file.split!r}; leave it in one"
                )
        splits[file.split] = build_mask_dataset(content, path_of)
    return DatasetDict(splits)


def _part_of(path: Path) -> str:
    """Give the part of the corpus that a file's name says: `val2017` of `instances_val2017.json`."""
    if path.name == "_annotations.coco.json":
        return path.parent.name if path.parent.name.lower() in SPLIT_NAMES else ""
    return re.sub(r"^(instances|annotations)[_-]?|[_-]?(instances|annotations)$", "", path.stem)


def _split_word(path: Path, root: Path) -> str:
    """Give the word in a file's name, or its folder's, that is one for a split: `val` of `shop_val2.json`."""
    words = re.split(r"[^a-z]+", f"{path.stem} {path.parent.name if path.parent != root else ''}".lower())
    return next((word for word in words if word in SPLIT_NAMES), "")


def _picture_places(root: Path, file: _File, data_dir: Path | None) -> Iterator[Path]:
    for folder in [root, file.path.parent] if data_dir is None else [data_dir]:
        for below in ("images", ".") if data_dir is None else (".", "images"):
            if file.part:
                yield folder / below / file.part
            yield folder / below
