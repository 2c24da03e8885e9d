"""Tables of examples (`metadata.jsonl`, `.csv`, `.json`) turned into typed columns of a task.

Cells are converted by the types of the task's contract, so that what does not fit is reported with its file, line and
column. Class names stay text until all splits are read and the list of classes is known.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...printable_text import short_value
from ...processing.media_suffixes import PICTURE_SUFFIXES
from ...text_files import parse_json, read_json, read_text
from ..class_lists import CLASS_FILE, class_lookup, class_name, order_classes
from ..contracts import OBJECT_FIELDS, features_for, nearest_hint, task_contract
from ..named_files import name_below
from .foreign_files import refuse_foreign_json
from .temporal_annotations import parse_number, parse_whole_number, read_csv_rows

if TYPE_CHECKING:
    from datasets import Dataset

TABLE_SUFFIXES = (".jsonl", ".csv", ".json")
LIST_SEPARATOR = ";"
PATH_KINDS = ("image", "video", "video file")
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        cells: values by column.
        where: file and line, for error messages.
        root: folder that paths in it are relative to.
        is_csv: whether the cells are text, whatever they mean.
    """

    cells: dict[str, Any]
    where: str
    root: Path
    is_csv: bool = False


def read_rows(path: Path, root: Path) -> list[Row]:
    """Read a table of examples, whose paths are relative to `root`; empty CSV cells become None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a table, or no UTF-8 text; names the line.
    """
    if path.suffix.lower() == ".csv":
        _, rows = read_csv_rows(path)
        return [
            Row({name: cell or None for name, cell in row.items()}, f"{path}, line {number}", root, True)
            for number, row in rows
        ]
    if path.suffix.lower() == ".jsonl":
        # Only a line feed ends a line of JSON; text may hold other signs that Python takes for line ends.
        lines = [(f"{path}, line {number}", line) for number, line in enumerate(read_text(path).split("\n"), start=1)]
        rows = [Row(parse_json(line, where), where, root) for where, line in lines if line.strip()]
    else:
        records = read_json(path)
        refuse_foreign_json(records, path)
        if not isinstance(records, list):
            raise ValueError(f"{path} must hold a list of examples, got {type(records).__name__}")
        rows = [Row(record, f"{path}, example {number}", root) for number, record in enumerate(records, start=1)]
    for row in rows:
        if not isinstance(row.cells, dict):
            raise ValueError(
                f"{row.where}: an example must be an object with named values, got {short_value(row.cells)}"
            )
        split = row.cells.get("split")
        if split is not None and (isinstance(split, bool) or not isinstance(split, str | int)):
            raise ValueError(f"{row.where}: a split is named by text, got {short_value(split)}")
    return rows


def build_example_corpus(
    splits: Mapping[str, Sequence[Row]], task: str, folder: Path, class_names: Sequence[str] | None
) -> dict[str, "Dataset"]:
    """Build the data set of each split from its rows.

    Args:
        splits: rows by split name.
        task: a key of `tasks.TASKS`, except temporal localisation, which `temporal_corpora.py` builds.
        folder: folder of the corpus, where a user may put `classes.txt`.
        class_names: all classes in the order of their ids; None = those that occur, as `order_classes`.

    Raises:
        FileNotFoundError: media files are missing; names all.
        ValueError: a cell does not fit its column or names an unknown class; names file, line and column.
    """
    from datasets import Dataset, Features

    all_rows = [row for rows in splits.values() for row in rows]
    columns = [column for column in task_contract(task).columns if any(column.name in row.cells for row in all_rows)]
    types = {column.name: _type_for(task, column.name, all_rows, ["placeholder"]) for column in columns}
    paths = [column.name for column in columns if column.kind in PATH_KINDS]
    labels: list[str] = []

    def read(row: Row) -> dict[str, Any]:
        example = {
            name: _convert(row.cells.get(name), type_, f"{row.where}, column {name!r}", labels, row.is_csv)
            for name, type_ in types.items()
        }
        named = {name: example[name] for name in paths if example[name] is not None}
        return example | {name: str(row.root / name_below(row.root, file)) for name, file in named.items()}

    converted = {split: [read(row) for row in rows] for split, rows in splits.items()}
    _require_media(converted, paths, folder)
    names = list(class_names) if class_names is not None else order_classes(labels)
    encode = _label_encoder(labels, names, folder)
    final_types = Features({column.name: _type_for(task, column.name, all_rows, names) for column in columns})
    return {
        split: Dataset.from_dict(
            {
                name: [_encode_labels(example[name], type_, encode) for example in examples]
                for name, type_ in final_types.items()
            },
            features=final_types,
        )
        for split, examples in converted.items()
    }


def split_cell(cell: str, where: str) -> Any:
    """Read a list in a CSV cell: JSON, or values between semicolons.

    Raises:
        ValueError: it begins as JSON but is none.
    """
    if cell.startswith("["):
        return parse_json(cell, where)
    return [item.strip() for item in cell.split(LIST_SEPARATOR) if item.strip()]


def _type_for(task: str, name: str, rows: Sequence[Row], class_names: Sequence[str]) -> Any:
    from datasets import List

    fields = _object_fields(rows) if name == "objects" else ()
    type_ = features_for(task, [name], class_names, fields)[name]
    if task_contract(task).column(name).kind == "class or classes" and any(
        _is_list(row.cells.get(name)) for row in rows
    ):
        return List(type_)
    return type_


def _object_fields(rows: Sequence[Row]) -> list[str]:
    """Give the fields beyond the contract that any object has."""
    cells = [row.cells.get("objects") for row in rows]
    used = {
        field for cell in cells if isinstance(cell, list) for item in cell if isinstance(item, dict) for field in item
    }
    return [field for field in OBJECT_FIELDS if field in used]


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list) or (isinstance(cell, str) and (LIST_SEPARATOR in cell or cell.startswith("[")))


def _convert(value: Any, type_: Any, where: str, labels: list[str], is_csv: bool = False) -> Any:
    """Convert a cell to a column's type; class names are noted in `labels` and stay names.

    Numbers and truth values are read from text where a cell of CSV wrote it, nowhere else.
    """
    from datasets import ClassLabel, Image, List, Video

    if value is None:
        return None
    if isinstance(type_, List):
        items = split_cell(value, where) if isinstance(value, str) else value
        is_csv = is_csv and isinstance(value, str) and not value.startswith("[")
        if not isinstance(items, list):
            items = [items]
        if type_.length not in (-1, len(items)):
            raise ValueError(f"{where} must have {type_.length} values, got {short_value(value)}")
        return [_convert(item, type_.feature, where, labels, is_csv) for item in items]
    if isinstance(type_, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object with {', '.join(type_)}, got {short_value(value)}")
        return {name: _convert(value.get(name), part, f"{where}.{name}", labels) for name, part in type_.items()}
    if isinstance(type_, ClassLabel):
        labels.append(class_name(value, where))
        return labels[-1]
    if isinstance(type_, (Image, Video)) or type_.dtype == "string":
        if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{where} must be text, got {short_value(value)}")
        return str(value)
    if type_.dtype == "bool":
        return _truth(value, where, is_csv)
    if isinstance(value, str) and not is_csv:
        raise ValueError(f"{where}: the value must be a number, got the text {short_value(value)}")
    parse = parse_whole_number if type_.dtype.startswith("int") else parse_number
    return parse(value, "the value", where)


def _truth(value: Any, where: str, is_csv: bool) -> bool:
    found = TRUTHS.get(value.lower()) if is_csv and isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError(f"{where} must be true or false, got {short_value(value)}")
    return found


def _require_media(splits: Mapping[str, Sequence[dict[str, Any]]], columns: Iterable[str], folder: Path) -> None:
    for column in columns:
        files = [example[column] for examples in splits.values() for example in examples]
        if None in files:
            raise ValueError(f"{files.count(None)} examples in {folder} have no {column}")
        is_there = os.path.isfile if column == "image" else _is_video
        missing = sorted({file for file in files if not is_there(file)})
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} files of the column {column!r} are missing: {', '.join(missing)}; paths are relative "
                "to the folder of the table"
            )


def _is_video(path: str) -> bool:
    """Tell a film, or a folder of frames, or a folder with one of these for each second."""
    if not os.path.isdir(path):
        return os.path.isfile(path)
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries)
    seconds = next((name for name in names if name.isdecimal()), None)
    return any(os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES for name in names) or (
        seconds is not None and _is_video(os.path.join(path, seconds))
    )


def _label_encoder(labels: Iterable[str], names: Sequence[str], folder: Path) -> Callable[[str], int]:
    look_up = class_lookup(names)
    ids = {label: look_up(label) for label in dict.fromkeys(labels)}
    unknown = [label for label, id in ids.items() if id is None]
    if unknown:
        found = ", ".join(f"{label!r}{nearest_hint(label, names)}" for label in unknown)
        raise ValueError(f"unknown classes in {folder}: {found}; {folder / CLASS_FILE} names {len(names)} classes")
    return ids.__getitem__


def _encode_labels(value: Any, type_: Any, encode: Callable[[str], int]) -> Any:
    from datasets import ClassLabel, List

    if value is None:
        return None
    if isinstance(type_, ClassLabel):
        return encode(value)
    if isinstance(type_, List):
        return [_encode_labels(item, type_.feature, encode) for item in value]
    if isinstance(type_, dict):
        return {name: _encode_labels(value[name], part, encode) for name, part in type_.items()}
    return value
