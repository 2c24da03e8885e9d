"""Folders of pictures or videos whose names are the classes: `train/archery/1.mp4`, or `archery/1.mp4`.

The folder below the split is the class, however deep the files lie in it. Splits are whole folder names of
`split_names.py` in any case; without them everything is `train`. A folder `unlabelled`, at the top or beside the
classes, holds what has no class. What is left out is told in a warning.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...processing.media_suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from ..class_lists import CLASS_FILE, class_lookup, order_classes, read_class_names
from ..content_checks import name_some
from ..contracts import features_for, nearest_hint
from ..split_checks import find_shared_files
from ..split_names import SPLIT_NAMES, UNLABELLED_SPLIT, split_named

if TYPE_CHECKING:
    from datasets import DatasetDict

CLASS_FOLDER_TASKS = {"image-classification": "image", "video-classification": "video"}
# What operating systems and network storages put beside the files of people, in lower case; like hidden files they
# are no part of a corpus and not worth a word.
SYSTEM_NAMES = frozenset(
    {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot", "$recycle.bin"}
    | {"system volume information", "__macosx", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)
# Of tables and of the files that labelling tools write.
ANNOTATION_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".xml", ".xls", ".xlsx", ".ods", ".parquet")
DEFAULT_SPLIT = "train"
Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Example:
    """A picture, a video or a folder of frames: the names on the way to it, its split, and its class if it has one."""

    parts: Parts
    split: str
    label: str | None


def find_class_folder_task(root: Path) -> str | None:
    """Tell whether folders of a folder hold pictures or videos; None where they hold neither.

    Raises:
        ValueError: they hold both.
    """
    files = [parts for parts in walk_folder(root)[0] if len(parts) > 1]
    found = {
        task: [parts for parts in files if _suffix(parts) in suffixes]
        for task, suffixes in (("image-classification", PICTURE_SUFFIXES), ("video-classification", VIDEO_SUFFIXES))
    }
    there = {task: files for task, files in found.items() if files}
    if len(there) > 1:
        pictures, videos = there.values()
        raise ValueError(
            f"{root} holds {len(pictures)} pictures ({_name(pictures[0])}, ...) and {len(videos)} videos "
            f"({_name(videos[0])}, ...); say which are the examples with task=image-classification or "
            "task=video-classification"
        )
    return next(iter(there), None)


def read_class_folders(root: Path, task: str) -> "DatasetDict":
    """Read folders of classes.

    Args:
        root: the folder; `classes.txt` in it fixes the order of the classes.
        task: a key of `CLASS_FOLDER_TASKS`. For videos, a folder of pictures below a class folder is a video too.

    Raises:
        FileNotFoundError: a link leads nowhere.
        ValueError: class folders without an example, folders that may be splits or classes, a file in two splits,
            or a folder that `classes.txt` does not name.
    """
    from datasets import Dataset, DatasetDict

    files, folders = walk_folder(root)
    media = find_media(files, task)
    depth = _split_depth(root, media)
    examples = [example for parts in media if (example := _place(parts, depth)) is not None]
    examples += _unlabelled_splits(root, media, examples, depth)
    labels = [example.label for example in examples if example.label is not None]
    if not labels:
        _refuse_other_task(root, files, task)
    _refuse_empty_folders(root, folders, examples, depth, CLASS_FOLDER_TASKS[task])
    if not labels:
        raise ValueError(f"{root} has no folder of a class that holds examples; docs/data.md shows the layout")
    _tell_left_out(root, files, examples)
    names = read_class_names(root) or order_classes(labels)
    look_up = class_lookup(names)
    unknown = sorted({label for label in labels if look_up(label) is None})
    if unknown:
        raise ValueError(
            f"{root / CLASS_FILE} does not name the class folders {name_some(unknown)}"
            f"{nearest_hint(unknown[0], names)}"
        )
    column = CLASS_FOLDER_TASKS[task]
    features = features_for(task, (column, "label"), names)
    order = list(dict.fromkeys(SPLIT_NAMES.values()))
    splits: dict[str, list[_Example]] = {}
    for example in sorted(examples, key=lambda example: (order.index(example.split), example.parts)):
        splits.setdefault(example.split, []).append(example)
    paths = {split: [os.path.join(root, *example.parts) for example in found] for split, found in splits.items()}
    if leaks := find_shared_files(paths):
        raise ValueError(f"{root}: {'; '.join(leaks)}")
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    column: paths[split],
                    "label": [None if example.label is None else look_up(example.label) for example in found],
                },
                features=features,
            )
            for split, found in splits.items()
        }
    )


def walk_folder(root: Path) -> tuple[list[Parts], list[Parts]]:
    """Give the files and folders below a folder, without hidden and system ones; links are followed, but no circle."""
    files: list[Parts] = []
    folders: list[Parts] = []

    def visit(folder: str, parts: Parts, above: frozenset[str]) -> None:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM_NAMES:
                continue
            here = (*parts, entry.name)
            if entry.is_symlink() and not os.path.exists(entry.path):
                raise FileNotFoundError(f"{entry.path} is a link to a file that is not there; restore or remove it")
            if not entry.is_dir():
                files.append(here)
                continue
            place = os.path.realpath(entry.path)
            if place not in above:
                folders.append(here)
                visit(entry.path, here, above | {place})

    visit(os.fspath(root), (), frozenset({os.path.realpath(root)}))
    return files, folders


def find_media(files: list[Parts], task: str) -> list[Parts]:
    """Give the pictures; or the videos, with folders that hold pictures and no video as videos too."""
    pictures = [parts for parts in files if _suffix(parts) in PICTURE_SUFFIXES]
    if task == "image-classification":
        return pictures
    videos = [parts for parts in files if _suffix(parts) in VIDEO_SUFFIXES]
    frame_folders = {parts[:-1] for parts in pictures} - {parts[:-1] for parts in videos} - {()}
    return [*videos, *sorted(frame_folders)]


def has_class_folders(root: Path, media: list[Parts]) -> bool:
    """Tell whether every picture or video lies in the folder of a class, none of them called like a split.

    Raises:
        ValueError: folders that may be splits or classes.
    """
    depth = _split_depth(root, media)
    labels = [None if (example := _place(parts, depth)) is None else example.label for parts in media]
    return bool(labels) and all(label is not None and split_named(label) is None for label in labels)


def _split_depth(root: Path, media: list[Parts]) -> int:
    """Tell whether the top folders are splits (1) or classes (0)."""
    tops = dict.fromkeys(sorted(parts[0] for parts in media if len(parts) > 1))
    named = [top for top in tops if split_named(top) not in (None, UNLABELLED_SPLIT)]
    others = [top for top in tops if split_named(top) is None]
    if named and not others:
        repeated = [top for top in named if [split_named(name) for name in named].count(split_named(top)) > 1]
        if repeated:
            raise ValueError(f"{root} has several folders of one split: {', '.join(repeated)}; join them")
        return 1
    with_classes = [top for top in named if any(parts[0] == top and len(parts) > 2 for parts in media)]
    if with_classes:
        raise ValueError(
            f"{root} has folders that are called like splits ({name_some(with_classes)}) beside others "
            f"({name_some(others)}); a folder of classes has either splits at its top or classes: move or rename some"
        )
    nested = next((parts for parts in media if len(parts) > 2 and split_named(parts[1])), None)
    if nested is not None:
        raise ValueError(
            f"{root} has the split {nested[1]!r} below {nested[0]!r}; give {root / nested[0]} if its folders are the "
            "splits, or put splits above the classes"
        )
    return 0


def _place(parts: Parts, depth: int) -> _Example | None:
    """Give the split and the class of a file, None where no folder of a class holds it."""
    split = split_named(parts[0]) if depth else DEFAULT_SPLIT
    if len(parts) > 1 and split_named(parts[0]) == UNLABELLED_SPLIT:
        return _Example(parts, UNLABELLED_SPLIT, None)
    if split is None or len(parts) < depth + 2:
        return None
    if split_named(parts[depth]) == UNLABELLED_SPLIT:
        return _Example(parts, UNLABELLED_SPLIT, None)
    return _Example(parts, split, parts[depth])


def _unlabelled_splits(root: Path, media: list[Parts], examples: list[_Example], depth: int) -> Iterator[_Example]:
    """Give the files of splits beside `train` that have no class folders, as published test sets have none."""
    with_classes = {example.split for example in examples}
    without: dict[str, list[Parts]] = {}
    for parts in media:
        split = split_named(parts[0]) if depth and len(parts) == 2 else None
        if with_classes and split not in (None, DEFAULT_SPLIT, *with_classes):
            without.setdefault(split, []).append(parts)
    for split, found in without.items():
        warnings.warn(
            f"{root}: split {split!r} has no folders of classes; its {len(found)} examples are unlabelled",
            stacklevel=5,
        )
        yield from (_Example(parts, split, None) for parts in found)


def find_annotation_files(root: Path) -> list[str]:
    """Give the files below a folder that may say more of its pictures or videos than the folders' names."""
    return [_name(parts) for parts in walk_folder(root)[0] if _suffix(parts) in ANNOTATION_SUFFIXES]


def _refuse_other_task(root: Path, files: list[Parts], task: str) -> None:
    """Refuse folders that hold examples of the other task alone, which is a better word than that they are empty."""
    other = next(name for name in CLASS_FOLDER_TASKS if name != task)
    if any(len(parts) > 1 for parts in find_media(files, other)):
        raise ValueError(f"{root} has a folder for each class, of a corpus for {other} and not for {task}")


def _refuse_empty_folders(root: Path, folders: list[Parts], examples: list[_Example], depth: int, kind: str) -> None:
    """A class without examples would silently be none of the classes."""
    filled = {example.parts[:length] for example in examples for length in range(1, depth + 2)}
    of_classes = [
        folder
        for folder in folders
        if (len(folder) == depth + 1 or folder[:depth] == folder)
        and (not depth or split_named(folder[0]) not in (None, UNLABELLED_SPLIT))
    ]
    empty = [_name(folder) for folder in of_classes if folder not in filled]
    if empty:
        kind = {"image": "picture"}.get(kind, kind)
        raise ValueError(
            f"{len(empty)} class folders in {root} hold no {kind} ({name_some(empty)}); add some or remove them"
        )


def _tell_left_out(root: Path, files: list[Parts], examples: Iterable[_Example]) -> None:
    used = {example.parts for example in examples}
    left_out = [parts for parts in files if parts not in used and parts[:-1] not in used and parts != (CLASS_FILE,)]
    if left_out:
        names = name_some(map(_name, left_out))
        warnings.warn(
            f"{root}: {len(left_out)} files are left out, because they are of another kind or in no folder of a class "
            f"({names})",
            stacklevel=5,
        )


def _suffix(parts: Parts) -> str:
    return os.path.splitext(parts[-1])[1].lower()


def _name(parts: Parts) -> str:
    return "/".join(parts)
