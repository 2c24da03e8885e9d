"""Which pictures of a corpus are taken as labelled: those of a list, some of every class, or a share."""

import os
import random
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from ..text_files import read_lines
from .arrow_columns import arrow_column, struct_field
from .content_checks import name_some

if TYPE_CHECKING:
    from datasets import Dataset

OFFICIAL_SEED = 2021


def stratified_rows(labels: Sequence[int | None], share: float, seed: int) -> list[int]:
    """Draw a share of the labelled rows of every class, at least one of each.

    Args:
        labels: class id of each row, None for rows without.
        share: in (0, 1].
        seed: of the draw.

    Returns:
        rows, ascending.
    """
    chosen: list[int] = []
    for rows in _rows_by_class(labels):
        count = max(1, round(share * len(rows)))
        generator = np.random.default_rng([seed, labels[rows[0]]])
        chosen += generator.choice(rows, count, replace=False).tolist()
    return sorted(chosen)


def official_rows(names: Sequence[str], share: float) -> list[int]:
    """Draw a share of all rows as the official code does: without regard to classes, from one fixed seed.

    Args:
        names: of the files, which are drawn from in their natural order.
        share: in (0, 1].

    Returns:
        rows, in the natural order of their names.
    """
    order = sorted(range(len(names)), key=lambda row: _natural(names[row]))
    places = random.Random(OFFICIAL_SEED).sample(range(len(order)), int(share * len(order)))
    return [order[place] for place in sorted(places)]


def first_rows_of_classes(labels: Sequence[int | None], count: int) -> list[int]:
    """Give the first rows of every class, as the official code takes them of CIFAR.

    Args:
        labels: class id of each row, None for rows without.
        count: rows of each class.

    Raises:
        ValueError: a class has fewer.
    """
    chosen: list[int] = []
    for rows in _rows_by_class(labels):
        if len(rows) < count:
            raise ValueError(
                f"class {labels[rows[0]]} has {len(rows)} labelled pictures, but labels_per_class asks for {count}"
            )
        chosen += rows[:count]
    return sorted(chosen)


def read_labelled_list(path: str | os.PathLike[str], dataset: "Dataset") -> list[int]:
    """Find the rows of a data set that a split file names.

    Args:
        path: lines `file name`, or `file name,shard,index` as Semiformer publishes for ImageNet, in their order.
        dataset: with the column `image`, whose files have these names; or with a column `file_name`.

    Returns:
        rows in the order of the lines.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a line of another form, twice, or of a file that the data set lacks or has several times; names
            its number.
    """
    rows_of: dict[str, list[int]] = {}
    names = file_names(dataset)
    for row, name in enumerate(names):
        rows_of.setdefault(PurePath(name).name, []).append(row)
    lines: dict[int, int] = {}
    for number, line in read_lines(path):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) not in (1, 3) or not cells[0] or not all(cell.isdigit() for cell in cells[1:]):
            raise ValueError(
                f"{path}, line {number}: expected a file name, or file name, shard and index, separated by commas, "
                f"got {line!r}"
            )
        parts = PurePath(cells[0]).parts
        found = [row for row in rows_of.get(parts[-1], ()) if PurePath(names[row]).parts[-len(parts) :] == parts]
        if len(found) != 1:
            count = f"{len(found)} pictures" if found else "no picture"
            more = "; give more of its path" if found else ""
            raise ValueError(f"{path}, line {number}: the data set has {count} {cells[0]!r}{more}")
        if found[0] in lines:
            raise ValueError(f"{path}, line {number}: {cells[0]!r} was named in line {lines[found[0]]} already")
        lines[found[0]] = number
    if not lines:
        raise ValueError(f"{path} names no picture")
    return list(lines)


def split_by_rows(dataset: "Dataset", rows: Sequence[int], *, exclude: bool = False) -> tuple["Dataset", "Dataset"]:
    """Give the labelled pictures of a data set, and those that are learned from without labels.

    Args:
        dataset: all pictures.
        rows: of the labelled ones.
        exclude: whether the labelled ones are left out of the second part, which otherwise is everything, as in the
            official code.

    Raises:
        ValueError: when nothing is left for the second part, or a labelled row has no class.
    """
    labels = arrow_column(dataset, "label").to_pylist()
    without = [row for row in rows if labels[row] is None]
    if without:
        names = name_some(str(row) for row in without)
        raise ValueError(f"{len(without)} of the pictures that are to be labelled have no class (rows {names})")
    taken = set(rows)
    others = [row for row in range(len(dataset)) if row not in taken] if exclude else range(len(dataset))
    if not len(others):
        raise ValueError(
            "no picture is left without label: take a smaller share as labelled, or let the labelled ones be learned "
            "from without their labels too (exclude_labelled false)"
        )
    return dataset.select(rows), dataset.select(others)


def _rows_by_class(labels: Sequence[int | None]) -> list[list[int]]:
    by_class: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None:
            by_class.setdefault(label, []).append(row)
    return [by_class[label] for label in sorted(by_class)]


def _natural(name: str) -> list[tuple[int, str]]:
    """Give what names are sorted by so that 8 comes before 15."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split("([0-9]+)", name)]


def file_names(dataset: "Dataset") -> list[str]:
    """Give the name of each picture's file, of the column `file_name` where there is one.

    Raises:
        ValueError: the pictures have none.
    """
    from datasets import Image

    if "file_name" in dataset.column_names:
        return list(dataset["file_name"])
    paths = struct_field(arrow_column(dataset.cast_column("image", Image(decode=False)), "image"), "path").to_pylist()
    if None in paths:
        raise ValueError(
            "the pictures of the data set have no file names, by which a list could name them; add a column file_name"
        )
    return paths
