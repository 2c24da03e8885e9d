"""A corpus in numbers: one line for each split with its examples, classes, instances and durations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..tasks import TASKS
from ..text_tables import format_table
from .arrow_columns import arrow_column, as_numbers, flatten_lists, list_lengths, struct_field
from .contracts import class_names_of, task_contract

if TYPE_CHECKING:
    from datasets import Dataset

HEADER = ("split", "examples", "classes", "instances", "total", "shortest", "median", "longest")
# Where the classes of a task stand.
CLASS_COLUMNS = ("labels", "label", "objects")


def corpus_table(splits: Mapping[str, "Dataset"], task: str) -> str:
    """Give the table of a corpus whose columns fit `task`, as lines of text.

    Columns: examples (rows), classes (that occur, of how many; and how many rows have
    none, where any has none), instances (segments, objects or boxes), and total,
    shortest, median and longest duration where the corpus says durations.
    """
    task_contract(task)
    rows = [HEADER, *(_split_row(name, dataset, task) for name, dataset in splits.items())]
    used = [column for column in range(len(HEADER)) if any(row[column] for row in rows[1:])]
    header, *lines = ([row[column] for column in used] for row in rows)
    return format_table(header, lines)


def _split_row(name: str, dataset: "Dataset", task: str) -> tuple[str, ...]:
    instances = TASKS[task].instances
    has_instances = instances in dataset.features and dataset.num_rows > 0
    return (
        name,
        str(dataset.num_rows),
        _classes(dataset),
        str(int(list_lengths(arrow_column(dataset, instances)).sum())) if has_instances else "",
        *_durations(dataset),
    )


def _classes(dataset: "Dataset") -> str:
    """Say how many classes occur, of how many, and how many rows are unlabelled."""
    column = next((name for name in CLASS_COLUMNS if name in dataset.features), None)
    names = None if column is None else class_names_of(dataset.features[column])
    if names is None or dataset.num_rows == 0:
        return ""
    values, feature = arrow_column(dataset, column), dataset.features[column]
    unlabelled = f", {values.null_count} unlabelled" if values.null_count else ""
    while not hasattr(feature, "names"):
        if isinstance(feature, dict):
            values, feature = struct_field(values, "category"), feature["category"]
        else:
            values, feature = flatten_lists(values)[0], feature.feature
    return f"{len(values.drop_null().unique())} of {len(names)}{unlabelled}"


def _durations(dataset: "Dataset") -> tuple[str, str, str, str]:
    if "duration" not in dataset.features or dataset.num_rows == 0:
        return ("", "", "", "")
    seconds = as_numbers(arrow_column(dataset, "duration"))
    seconds = seconds[np.isfinite(seconds)]
    if len(seconds) == 0:
        return ("", "", "", "")
    total = seconds.sum()
    shown = f"{total / 3600:.1f} h" if total >= 3600 else f"{total:.1f} s"
    return (shown, f"{seconds.min():.1f} s", f"{np.median(seconds):.1f} s", f"{seconds.max():.1f} s")
