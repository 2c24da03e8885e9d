"""Checks of the splits of a corpus against each other: what two of them share, and classes that training lacks."""

import os
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

from .arrow_columns import arrow_column, media_files
from .content_checks import TRAIN_SPLIT, Problem, name_some

if TYPE_CHECKING:
    from datasets import Dataset


def find_split_problems(splits: Mapping[str, "Dataset"]) -> list[Problem]:
    """Find videos or pictures that two splits share, and classes that training never shows."""
    problems: list[Problem] = []
    splits = {name: dataset for name, dataset in splits.items() if dataset.num_rows}
    if len(splits) < 2:
        return problems
    for column in ("video_id", "image_id"):
        ids = {name: _identities(dataset, column) for name, dataset in splits.items() if column in dataset.features}
        for first, second in combinations(ids, 2):
            shared = sorted(str(id[0] if isinstance(id, tuple) else id) for id in ids[first] & ids[second])
            if shared:
                found = f"{len(shared)} {column}s are in split {first!r} and in split {second!r}"
                problems.append(Problem("error", f"{found} ({name_some(shared)}); remove them from one of the two"))
    for column in ("image", "video"):
        files = {name: media_files(data, column) for name, data in splits.items() if column in data.features}
        # Published lists may validate and test on the same videos.
        problems += [Problem("warning", sentence) for sentence in find_shared_files(files)]
    if TRAIN_SPLIT in splits:
        known = _used_classes(splits[TRAIN_SPLIT])
        for name, dataset in splits.items():
            unseen = sorted(_used_classes(dataset) - known)
            if unseen:
                found = f"split {name!r}: {len(unseen)} classes have no example in split {TRAIN_SPLIT!r}"
                problems.append(Problem("warning", f"{found} ({name_some(unseen)}); a model cannot learn them"))
    return problems


def _identities(dataset: "Dataset", column: str) -> set[Any]:
    """Give what tells examples apart: ids, of pictures with their files, as ids may begin anew in each split."""
    ids = arrow_column(dataset, column).to_pylist()
    files = media_files(dataset, "image") if column == "image_id" and "image" in dataset.features else []
    return set(zip(ids, files, strict=True)) if files else set(ids)


def find_shared_files(files: Mapping[str, Iterable[str | None]]) -> list[str]:
    """Give a sentence for each pair of splits that have files in common, under one name or by a link.

    Args:
        files: paths by split name; null and what is not there do not count.
    """
    resolve = _Links()
    places = {split: {place for path in paths if path and (place := resolve(path))} for split, paths in files.items()}
    sentences = []
    for first, second in combinations(places, 2):
        shared = sorted(places[first] & places[second])
        if shared:
            found = f"{len(shared)} files are in split {first!r} and in split {second!r}"
            sentences.append(f"{found} ({name_some(shared)}); remove them from one of the two")
    return sentences


class _Links:
    """Gives the true place of a file, or None where there is none; each folder is asked once."""

    def __init__(self) -> None:
        self._folders: dict[str, tuple[str, dict[str, bool]]] = {}

    def __call__(self, path: str) -> str | None:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder), _links_in(folder)
        place, is_link = self._folders[folder]
        if name not in is_link:
            return None
        return os.path.realpath(path) if is_link[name] else os.path.join(place, name)


def _links_in(folder: str) -> dict[str, bool]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except OSError:
        return {}


def _used_classes(dataset: "Dataset") -> set[str]:
    """Names of the classes of a split's examples, for tasks whose labels stand in a column of their own."""
    import pyarrow.compute as pc

    column = next((name for name in ("label", "labels") if name in dataset.features), None)
    if column is None:
        return set()
    feature, values = dataset.features[column], arrow_column(dataset, column)
    while not hasattr(feature, "names"):
        feature, values = feature.feature, pc.list_flatten(values)
    ids = pc.unique(values.drop_null()).to_pylist()
    return {feature.names[id] for id in ids if 0 <= id < len(feature.names)}
