"""Tables of examples (`metadata.jsonl`, `.csv`, `.json`) turned into typed columns of a task.

Cells are converted by the types of the task's contract, so that what does not fit is reported with its file, line and
column. Class names stay text until all splits are read and the list of classes is known.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..content_checks import name_some
from ..contracts import OBJECT_FIELDS, features_for, nearest_hint, task_contract
from .temporal_annotations import parse_number, read_csv_rows

if TYPE_CHECKING:
    from datasets import Dataset

TABLE_SUFFIXES = (".jsonl", ".csv", ".json")
LIST_SEPARATOR = ";"
PATH_KINDS = ("image", "video", "video file")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        cells: values by column.
        where: file and line, for error messages.
        root: folder that paths in it are relative to.
    """

    cells: dict[str, Any]
    where: str
    root: Path


def read_rows(path: Path, root: Path) -> list[Row]:
    """Read a table of examples, whose paths are relative to `root`; empty CSV cells become None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a table; names the line.
    """
    if path.suffix == ".csv":
        _, rows = read_csv_rows(path)
        records = [{name: cell or None for name, cell in row.items()} for row in rows]
        return [Row(record, f"{path}, line {number}", root) for number, record in enumerate(records, start=2)]
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".jsonl":
        lines = [(f"{path}, line {number}", line) for number, line in enumerate(text.splitlines(), start=1)]
        rows = [Row(_parse_json(line, where), where, root) for where, line in lines if line.strip()]
    else:
        records = _parse_json(text, str(path))
        if not isinstance(records, list):
            raise ValueError(f"{path} must hold a list of examples, got {type(records).__name__}")
        rows = [Row(record, f"{path}, example {number}", root) for number, record in enumerate(records, start=1)]
    for row in rows:
        if not isinstance(row.cells, dict):
            raise ValueError(f"{row.where}: an example must be an object with named values, got {row.cells!r}")
    return rows


def build_example_corpus(
    splits: Mapping[str, Sequence[Row]], task: str, folder: Path, class_names: Sequence[str] | None
) -> dict[str, "Dataset"]:
    """Build the data set of each split from its rows.

    Args:
        splits: rows by split name.
        task: a key of `contracts.TASKS`, except temporal localisation, which `temporal_corpora.py` builds.
        folder: folder of the corpus, where a user may put `classes.txt`.
        class_names: all classes in the order of their ids; None = those that occur, sorted by code point.

    Raises:
        FileNotFoundError: media files are missing; names all.
        ValueError: a cell does not fit its column or names an unknown class; names file, line and column.
    """
    from datasets import Dataset, Features

    all_rows = [row for rows in splits.values() for row in rows]
    columns = [column for column in task_contract(task).columns if any(column.name in row.cells for row in all_rows)]
    types = {column.name: _type_for(task, column.name, all_rows, ["placeholder"]) for column in columns}
    paths = [column.name for column in columns if column.kind in PATH_KINDS]
    labels: list[str | int] = []

    def read(row: Row) -> dict[str, Any]:
        example = {
            name: _convert(row.cells.get(name), type_, f"{row.where}, column {name!r}", labels)
            for name, type_ in types.items()
        }
        return example | {name: str(row.root / example[name]) for name in paths if example[name] is not None}

    converted = {split: [read(row) for row in rows] for split, rows in splits.items()}
    _require_media(converted, paths, folder)
    names = list(class_names) if class_names is not None else _classes_that_occur(labels, folder)
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
        return _parse_json(cell, where)
    return [item.strip() for item in cell.split(LIST_SEPARATOR) if item.strip()]


def read_class_names(root: Path) -> list[str] | None:
    """Read `classes.txt` (one class a line, in the order of the ids), or give None where there is none.

    Raises:
        ValueError: a class stands there twice.
    """
    path = root / "classes.txt"
    if not path.is_file():
        return None
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated or not names:
        raise ValueError(f"{path} must name each class once, got {name_some(repeated) or 'nothing'}")
    return names


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not valid JSON: {error}") from error


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


def _convert(value: Any, type_: Any, where: str, labels: list[str | int]) -> Any:
    """Convert a cell to a column's type; class names are noted in `labels` and stay as they are."""
    from datasets import ClassLabel, Image, List, Video

    if value is None:
        return None
    if isinstance(type_, List):
        items = split_cell(value, where) if isinstance(value, str) else value
        if not isinstance(items, list):
            items = [items]
        return [_convert(item, type_.feature, where, labels) for item in items]
    if isinstance(type_, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object with {', '.join(type_)}, got {value!r}")
        return {name: _convert(value.get(name), part, f"{where}.{name}", labels) for name, part in type_.items()}
    if isinstance(type_, ClassLabel):
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError(f"{where} must be the name of a class, got {value!r}")
        labels.append(value)
        return value
    if isinstance(type_, (Image, Video)) or type_.dtype == "string":
        return str(value)
    number = parse_number(value, "the value", where)
    return int(number) if type_.dtype.startswith("int") else number


def _require_media(splits: Mapping[str, Sequence[dict[str, Any]]], columns: Iterable[str], folder: Path) -> None:
    for column in columns:
        files = [example[column] for examples in splits.values() for example in examples]
        if None in files:
            raise ValueError(f"{files.count(None)} examples in {folder} have no {column}")
        missing = sorted({file for file in files if not os.path.isfile(file)})
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} files of the column {column!r} are missing: {', '.join(missing)}; paths are relative "
                "to the folder of the table"
            )


def _classes_that_occur(labels: Iterable[str | int], folder: Path) -> list[str]:
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers:
        raise ValueError(
            f"the classes in {folder} are numbers ({name_some(numbers)}); name them in {folder / 'classes.txt'}, one "
            "a line in the order of the numbers from 0"
        )
    return sorted(set(labels))


def _label_encoder(labels: Iterable[str | int], names: Sequence[str], folder: Path) -> Callable[[str | int], int]:
    ids: dict[str | int, int] = {name: index for index, name in enumerate(names)}
    ids |= {index: index for index in range(len(names))}
    unknown = [label for label in dict.fromkeys(labels) if label not in ids]
    if unknown:
        found = ", ".join(f"{label!r}{nearest_hint(str(label), names)}" for label in unknown)
        raise ValueError(f"unknown classes in {folder}: {found}; {folder / 'classes.txt'} names {len(names)} classes")
    return ids.__getitem__


def _encode_labels(value: Any, type_: Any, encode: Callable[[str | int], int]) -> Any:
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
