"""Data sets that come as `datasets` tables (the Hub, `save_to_disk`, parquet), fitted to the columns of a task."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arrow_columns import arrow_column
from .class_lists import class_lookup, order_classes
from .content_checks import name_some
from .contracts import class_names_of, features_for, task_contract

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# What `datasets` writes for an example without a class.
NO_CLASS = -1


def load_hub_data_set(name: str) -> "DatasetDict":
    """Load a data set of the Hub.

    Raises:
        OSError: it could not be fetched.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(name)
    except (DatasetsError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise OSError(
            f"{name!r} is no folder here, and could not be loaded as a data set from the Hub: {reason}"
        ) from error


def read_saved_data_set(path: Path) -> "DatasetDict | None":
    """Read what `datasets` wrote into a folder: `save_to_disk`, or parquet files; None where it is no such folder.

    Raises:
        ValueError: `datasets` would take the name of the folder for a pattern.
    """
    from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = load_from_disk(str(path))
        return DatasetDict({"train": saved}) if isinstance(saved, Dataset) else saved
    if not any(next(path.glob(pattern), None) for pattern in ("*.parquet", "*/*.parquet")):
        return None
    if any(sign in str(path) for sign in "[]*?"):
        raise ValueError(f"parquet files cannot be read below {path}, as it has one of []*? in its name; rename it")
    return load_dataset(str(path))


def fit_to_task(splits: "DatasetDict", task: str) -> "DatasetDict":
    """Keep videos undecoded, give classes that are written as text or numbers ids, and make -1 null.

    Columns of type ClassLabel keep their own order of classes; others get the order of `order_classes`, over all
    splits. What does not fit the task stays as it is, for the check of the columns to name it.
    """
    from datasets import DatasetDict, Video

    fitted = dict(splits)
    for split, dataset in fitted.items():
        for column, type_ in dataset.features.items():
            if isinstance(type_, Video) and type_.decode:
                dataset = dataset.cast_column(column, Video(decode=False))
        fitted[split] = dataset
    for column in task_contract(task).columns:
        wanted = features_for(task, [column.name], ["any"])[column.name]
        if class_names_of(wanted) is not None:
            fitted = _with_class_ids(fitted, column.name, wanted)
    return DatasetDict(fitted)


def _with_class_ids(splits: "Mapping[str, Dataset]", column: str, wanted: Any) -> "dict[str, Dataset]":
    from datasets import ClassLabel

    features = {split: data.features[column] for split, data in splits.items() if column in data.features}
    types = {split: _with_labels(feature, wanted, ClassLabel(names=[])) for split, feature in features.items()}
    written = {
        split: arrow_column(splits[split], column).to_pylist()
        for split, type_ in types.items()
        if type_ != features[split]
    }
    fitted = dict(splits)
    labels: list[str] = []
    for split, values in written.items():
        [_replace_labels(value, features[split], types[split], labels.append) for value in values]
    given = [names for feature in features.values() if (names := class_names_of(feature)) is not None]
    names = given[0] if given else order_classes(labels)
    look_up = class_lookup(names)
    unknown = [label for label in dict.fromkeys(labels) if look_up(label) is None]
    if unknown:
        raise ValueError(f"the column {column!r} names {name_some(unknown)}, which the class list of a split does not")
    for split, values in written.items():
        type_ = _with_labels(features[split], wanted, ClassLabel(names=names))
        ids = [_replace_labels(value, features[split], type_, look_up) for value in values]
        fitted[split] = _replaced(splits[split], column, ids, type_)
    return {split: _without_minus_one(data, column) if split in features else data for split, data in fitted.items()}


def _with_labels(found: Any, wanted: Any, label: Any) -> Any:
    """Give the type `found` with `label` in each place where a class is wanted and text or whole numbers are found."""
    from datasets import ClassLabel, LargeList, List, Value

    if isinstance(wanted, ClassLabel):
        if isinstance(found, (List, LargeList)):
            return List(_with_labels(found.feature, wanted, label))
        is_name = isinstance(found, Value) and (
            "string" in found.dtype or "int" in found.dtype or found.dtype == "null"
        )
        return label if is_name else found
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {name: _with_labels(part, wanted.get(name), label) for name, part in found.items()}
    if isinstance(wanted, List) and isinstance(found, (List, LargeList)):
        return List(_with_labels(found.feature, wanted.feature, label))
    return found


def _replace_labels(value: Any, found: Any, new: Any, convert: Callable[[str], Any]) -> Any:
    """Give a value of type `found` as one of type `new`, where these differ by classes."""
    if value is None or found == new:
        return value
    if hasattr(new, "names"):
        return convert(str(value))
    if isinstance(new, dict):
        return {name: _replace_labels(value[name], found[name], part, convert) for name, part in new.items()}
    return [_replace_labels(item, found.feature, new.feature, convert) for item in value]


def _without_minus_one(dataset: "Dataset", column: str) -> "Dataset":
    feature = dataset.features[column]
    if not hasattr(feature, "names") or dataset.num_rows == 0:
        return dataset
    values = arrow_column(dataset, column)
    if NO_CLASS not in values.unique().to_pylist():
        return dataset
    labels = [None if label == NO_CLASS else label for label in values.to_pylist()]
    return _replaced(dataset, column, labels, feature)


def _replaced(dataset: "Dataset", column: str, values: list[Any], feature: Any) -> "Dataset":
    names = dataset.column_names
    return dataset.remove_columns(column).add_column(column, values, feature=feature).select_columns(names)
