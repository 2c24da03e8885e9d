"""Columns of a data set as Arrow and NumPy arrays, for checks and counts without a loop over rows."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def arrow_column(dataset: "Dataset", name: str) -> "pa.Array":
    """Give one column as one Arrow array; other columns, pictures and videos above all, are not touched."""
    return dataset.select_columns([name]).with_format("arrow")[:][name].combine_chunks()


def media_files(dataset: "Dataset", name: str) -> list[str | None]:
    """Give the paths of a column of pictures or videos, null where there is none; contents are not touched.

    Empty where pictures or videos lie in the data set itself: the names that they keep there are no files.
    """
    feature = dataset.features[name]
    if getattr(feature, "dtype", None) == "string":
        return arrow_column(dataset, name).to_pylist()
    parts = dataset.select_columns([name]).cast_column(name, type(feature)(decode=False)).flatten()
    if parts.data.column(f"{name}.bytes").null_count < len(parts.data):
        return []
    return arrow_column(parts, f"{name}.path").to_pylist()


def flatten_lists(lists: "pa.Array") -> tuple["pa.Array", np.ndarray]:
    """Give the values of a list column and, for each of them, the row that it stands in."""
    import pyarrow.compute as pc

    return pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)


def list_lengths(lists: "pa.Array") -> np.ndarray:
    """Give the length of each list; 0 for null."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)


def struct_field(structs: "pa.Array", name: str) -> "pa.Array":
    """Give one field of an array of structs; null where the struct is."""
    import pyarrow.compute as pc

    return pc.struct_field(structs, name)


def as_numbers(values: "pa.Array") -> np.ndarray:
    """Give numbers as float64, NaN for null."""
    import pyarrow as pa

    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)


def is_given(values: "pa.Array") -> np.ndarray:
    """Give a boolean array that is False where the value is null."""
    return values.is_valid().to_numpy(zero_copy_only=False)
