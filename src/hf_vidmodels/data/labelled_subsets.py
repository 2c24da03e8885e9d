"""Which pictures of a corpus are taken as labelled: those of a list, some of every class, or a share of every class."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..text_files import read_text
from .arrow_columns import arrow_column, struct_field
from .content_checks import name_some

if TYPE_CHECKING:
    from datasets import Dataset


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
        ValueError: a line of another form, twice, or of a file that the data set lacks, by its number; a list of the
            other kind, whose second column is a class of 1 to 1000.
    """
    names = _file_names(dataset)
    rows_of = {os.path.basename(name): row for row, name in enumerate(names)}
    rows: dict[int, int] = {}
    for number, line in enumerate(read_text(Path(path)).splitlines(), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) not in (1, 2, 3) or not cells[0] or not all(cell.isdigit() for cell in cells[1:]):
            raise ValueError(
                f"{path}, line {number}: expected a file name, or file name, shard and index, separated by commas, got "
                f"{line!r}"
            )
        row = rows_of.get(os.path.basename(cells[0]))
        if row is None:
            raise ValueError(f"{path}, line {number}: the data set has no picture {cells[0]!r}")
        if row in rows:
            raise ValueError(f"{path}, line {number}: {cells[0]!r} was named in line {rows[row]} already")
        rows[row] = number
    if not rows:
        raise ValueError(f"{path} names no picture")
    return list(rows)


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


def _file_names(dataset: "Dataset") -> list[str]:
    from datasets import Image

    if "file_name" in dataset.column_names:
        return list(dataset["file_name"])
    paths = struct_field(arrow_column(dataset.cast_column("image", Image(decode=False)), "image"), "path").to_pylist()
    if None in paths:
        raise ValueError(
            "the pictures of the data set have no file names, by which a list could name them; add a column file_name"
        )
    return paths
