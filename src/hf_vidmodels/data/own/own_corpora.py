"""Corpora that users write themselves: a folder with a table of examples or annotations beside the media files.

Read are, in this order:

1. what `datasets` saved: folders of `save_to_disk` and folders of parquet files;
2. COCO instance files: `annotations.json`, `instances_*.json`, ... with the pictures in `images`;
3. `metadata.jsonl`, `metadata.csv` or `metadata.json` with the columns of the task, one example a row;
   `annotations.csv` with one action a row; `annotations.json` or `gt.json` in ActivityNet's form; `annotations.csv` or
   `annotations.jsonl` with one box and action a row (`action_boxes.py`);
4. the same tables one for each split: `train.csv`, `validation.csv`, ... or `train/metadata.csv`, ...;
5. for classification, a folder for each class (`train/archery/1.mp4`, ...; `class_folders.py`);
6. for what is learned without labels, a folder of videos (`plain_videos.py`).

`docs/data.md` shows each of them.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...processing.media_suffixes import VIDEO_SUFFIXES
from ...text_files import read_text
from ..class_lists import order_classes, read_class_names
from ..content_checks import name_some
from ..contracts import infer_task, refuse_other_task, unread_columns
from ..instances.mask_corpora import MASK_TASK
from ..instances.own_instance_files import find_instance_files, read_own_instance_files
from ..published.published_temporal_corpora import read_ids
from ..shared_data_sets import read_saved_data_set
from ..split_names import SPLIT_NAMES, split_named
from .action_boxes import is_action_box_table, join_action_boxes
from .class_folders import (
    CLASS_FOLDER_TASKS,
    DEFAULT_SPLIT,
    find_annotation_files,
    find_class_folder_task,
    read_class_folders,
)
from .example_tables import (
    LIST_SEPARATOR,
    TABLE_SUFFIXES,
    Row,
    build_example_corpus,
    read_rows,
    split_cell,
)
from .plain_videos import MOTION_TASK, read_plain_videos
from .temporal_annotations import (
    INSTANCE_COLUMNS,
    VideoAnnotation,
    annotation_from_entry,
    read_annotation_json,
    read_csv_rows,
    read_instance_table,
)
from .temporal_corpora import (
    TEMPORAL_TASK,
    attach_files,
    build_temporal_corpus,
    fill_durations,
    require_files,
)

if TYPE_CHECKING:
    from datasets import DatasetDict

TABLE_STEMS = ("metadata", "annotations", "gt")


@dataclass(frozen=True)
class _Table:
    """A table file; the split that its name says, if any; and the folder that its paths are relative to."""

    path: Path
    split: str | None
    root: Path


def read_own_corpus(path: Path, data_dir: Path | None = None, task: str | None = None) -> tuple["DatasetDict", str]:
    """Read a user's folder or table file.

    Args:
        path: folder, or one table file.
        data_dir: folder of the media files; the folder of the table where None.
        task: a key of `tasks.TASKS`; None = the one whose columns these are.

    Returns:
        The data sets by split, and the task.

    Raises:
        FileNotFoundError: nothing to read, or media files are missing (all of them are named).
        ValueError: a table that cannot be read or does not fit the task; names file and line.
    """
    if path.is_dir() and (saved := read_saved_data_set(path)) is not None:
        columns = next(iter(saved.values())).column_names
        if task is not None:
            refuse_other_task(columns, task, str(path))
        return saved, task or infer_task(columns, str(path))
    if files := find_instance_files(path):
        if task not in (None, MASK_TASK):
            raise ValueError(
                f"{files[0].path} is a COCO instance file, of a corpus for {MASK_TASK} and not for {task}"
            )
        folder = path if path.is_dir() else path.parent
        return read_own_instance_files(folder, files, data_dir), MASK_TASK
    tables = _find_tables(path, data_dir)
    if not tables:
        return _read_class_folders(path, task)
    contents = [(table, _read_table(table)) for table in tables]
    if not any(content for _, content in contents):
        files = ", ".join(str(table.path) for table in tables)
        raise ValueError(f"there is no example in {files}; docs/data.md shows what a table holds")
    contents = [(table, _joined_boxes(content)) for table, content in contents]
    columns = {name for _, content in contents if isinstance(content, list) for row in content for name in row.cells}
    if task is None:
        task = _task_of(contents, columns)
    elif task != TEMPORAL_TASK or "video_id" not in columns or "boxes" in columns:
        refuse_other_task(columns, task, str(path))
    for sentence in unread_columns(columns, task):
        warnings.warn(f"{path}: {sentence}", stacklevel=3)
    if task == TEMPORAL_TASK:
        return _build_temporal(path, contents), task
    return _build_examples(path, contents, task), task


def _find_tables(path: Path, data_dir: Path | None) -> list[_Table]:
    if path.is_file():
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise ValueError(f"{path} is not a table; use one of {', '.join(TABLE_SUFFIXES)} or a folder")
        return [_Table(path, None, data_dir or path.parent)]
    for stem in TABLE_STEMS:
        for suffix in TABLE_SUFFIXES:
            if (path / f"{stem}{suffix}").is_file():
                return [_Table(path / f"{stem}{suffix}", None, data_dir or path)]
    tables = []
    by_name: dict[str, list[Path]] = {}
    for entry in sorted(path.iterdir()):
        by_name.setdefault((entry.name if entry.is_dir() else entry.stem).lower(), []).append(entry)
    for name, split in SPLIT_NAMES.items():
        for entry in by_name.get(name, ()):
            if entry.suffix.lower() in TABLE_SUFFIXES and entry.is_file():
                tables.append(_Table(entry, split, data_dir or path))
            files = [entry / f"metadata{suffix}" for suffix in TABLE_SUFFIXES]
            tables += [_Table(file, split, entry) for file in files if file.is_file()]
    splits = [table.split for table in tables]
    repeated = next((table for table in tables if splits.count(table.split) > 1), None)
    if repeated:
        files = ", ".join(str(table.path) for table in tables if table.split == repeated.split)
        raise ValueError(f"{path} has several tables of split {repeated.split!r}: {files}; keep one")
    return tables


def _read_table(table: _Table) -> dict[str, VideoAnnotation] | list[Row]:
    """Read annotations where the file holds those, otherwise rows of examples."""
    if table.path.suffix.lower() == ".csv" and set(INSTANCE_COLUMNS) <= set(read_csv_rows(table.path)[0]):
        return read_instance_table(table.path)
    if table.path.suffix.lower() == ".json" and read_text(table.path).lstrip().startswith("{"):
        return read_annotation_json(table.path)
    return [Row(_named_media(row.cells), row.where, row.root) for row in read_rows(table.path, table.root)]


def _joined_boxes(content: dict[str, VideoAnnotation] | list[Row]) -> dict[str, VideoAnnotation] | list[Row]:
    """Join a table with one row for each box and action to rows of key times."""
    if isinstance(content, dict) or not content or not is_action_box_table(content[0].cells):
        return content
    return join_action_boxes(content)


def _named_media(cells: dict[str, Any]) -> dict[str, Any]:
    """Read the column `file_name` of `datasets`' image and video folders as `image` or `video`."""
    if "file_name" not in cells:
        return cells
    column = "video" if Path(str(cells["file_name"])).suffix.lower() in VIDEO_SUFFIXES else "image"
    return {column: cells["file_name"]} | {name: cell for name, cell in cells.items() if name != "file_name"}


def _task_of(contents: Sequence[tuple[_Table, Any]], columns: set[str]) -> str:
    if any(isinstance(content, dict) for _, content in contents):
        return TEMPORAL_TASK
    # Durations, labels and files can be filled in, so fewer columns tell this task than its contract requires.
    if "video_id" in columns and columns & {"labels", "segments"} and "boxes" not in columns:
        return TEMPORAL_TASK
    return infer_task(columns, ", ".join(str(table.path) for table, _ in contents))


def _build_examples(path: Path, contents: Sequence[tuple[_Table, Any]], task: str) -> "DatasetDict":
    from datasets import DatasetDict

    splits: dict[str, list[Row]] = {}
    for table, rows in contents:
        if isinstance(rows, dict):
            raise ValueError(f"{table.path} holds segments of untrimmed videos, which is not a corpus for {task}")
        if table.split is not None:
            splits.setdefault(table.split, [])
        for row in rows:
            split = _split_of(table, row.cells.get("split", row.cells.get("subset")))
            splits.setdefault(split, []).append(row)
    folder = path if path.is_dir() else path.parent
    return DatasetDict(build_example_corpus(splits or {DEFAULT_SPLIT: []}, task, folder, read_class_names(folder)))


def _build_temporal(path: Path, contents: Sequence[tuple[_Table, Any]]) -> "DatasetDict":
    folder = path if path.is_dir() else path.parent
    splits: dict[str, list[VideoAnnotation]] = {}
    for table, content in contents:
        annotations = list(content.values()) if isinstance(content, dict) else [_annotation(row) for row in content]
        by_split: dict[str, list[VideoAnnotation]] = {table.split: []} if table.split else {}
        listed = _listed_splits(table.root, annotations)
        for annotation in annotations:
            split = _split_of(table, annotation.subset) if listed is None else listed.get(annotation.video_id)
            if split is not None:
                by_split.setdefault(split, []).append(annotation)
        for split, members in by_split.items():
            attach_files(members, table.root, split)
            splits.setdefault(split, []).extend(members)
    splits = splits or {DEFAULT_SPLIT: []}
    everyone = [annotation for annotations in splits.values() for annotation in annotations]
    require_files(everyone, str(path))
    fill_durations(everyone)
    names = read_class_names(folder)
    if names is None:
        names = order_classes(label for annotation in everyone for label in annotation.all_labels)
    return build_temporal_corpus(splits, names, str(path))


def _annotation(row: Row) -> VideoAnnotation:
    """Read a row with the columns of temporal localisation."""
    cells = {name: cell for name, cell in row.cells.items() if cell is not None}
    if "video_id" not in cells:
        raise ValueError(f"{row.where}: video_id is missing; columns found: {', '.join(row.cells)}")
    for name in ("labels", "segments"):
        if isinstance(cells.get(name), str):
            cells[name] = split_cell(cells[name], f"{row.where}, column {name!r}")
    if LIST_SEPARATOR in str(cells.get("features")):
        cells["features"] = split_cell(cells["features"], row.where)
    cells.setdefault("subset", cells.get("split"))
    return annotation_from_entry(str(cells["video_id"]), cells, row.where)


def _listed_splits(root: Path, annotations: Sequence[VideoAnnotation]) -> dict[str, str] | None:
    """Give the split of each id in `split_train.txt`, ...; None where there is no such file."""
    files = [(split, root / f"split_{stem}.txt") for stem, split in SPLIT_NAMES.items()]
    files = [(split, file) for split, file in files if file.is_file()]
    if not files:
        return None
    known = {annotation.video_id for annotation in annotations}
    listed: dict[str, str] = {}
    for split, file in files:
        ids = read_ids(file)
        absent, again = [name for name in ids if name not in known], [name for name in ids if name in listed]
        if absent or again:
            reason = "without annotations" if absent else "of another split file too"
            raise ValueError(f"{file} lists {len(absent or again)} videos {reason} ({name_some(absent or again)})")
        listed |= dict.fromkeys(ids, split)
    left_out = sorted(known - set(listed))
    if left_out:
        warnings.warn(
            f"{root}: {len(left_out)} annotated videos are in no split file and take no part ({name_some(left_out)})",
            stacklevel=5,
        )
    return listed


def _split_of(table: _Table, written: str | None) -> str:
    """Give the split that a table's name or a row says; `train` where neither says one."""
    if table.split is not None:
        return table.split
    return split_named(str(written)) or str(written) if written else DEFAULT_SPLIT


def _read_class_folders(path: Path, task: str | None) -> tuple["DatasetDict", str]:
    if path.is_dir() and task == MOTION_TASK:
        return read_plain_videos(path), task
    found = find_class_folder_task(path) if path.is_dir() and task not in CLASS_FOLDER_TASKS else task
    if found is None or not path.is_dir():
        files = ", ".join(f"{stem}.jsonl|csv|json" for stem in TABLE_STEMS)
        raise FileNotFoundError(
            f"{path} has no table of examples ({files}), no table for each split (train.csv, ...) and no folder for "
            "each class; docs/data.md shows the layouts"
        )
    if task not in (None, found):
        raise ValueError(f"{path} has a folder for each class, of a corpus for {found} and not for {task}")
    corpus = read_class_folders(path, found)
    name, *others = next(iter(corpus.values())).features["label"].names
    if not others and (left_out := find_annotation_files(path)):
        raise ValueError(
            f"{path} has {name!r} as the only folder of a class, beside {name_some(left_out)}, which is not read; "
            "docs/data.md shows what annotations are called and hold"
        )
    return corpus, found
