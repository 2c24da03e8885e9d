"""Something-Something as its publisher distributes it: version 1 as folders of pictures with lists `id;template`,
version 2 as videos with JSON lists. Nothing is downloaded.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...atomic_io import read_json_object
from ...text_files import read_json, read_lines
from ..contracts import nearest_hint
from .listed_videos import SPLIT_FILES, ListedCorpus, listed_by_name, media_folder

V1_PREFIX, V2_PREFIX = "something-something-v1-", "something-something-v2-"
V1_FOLDERS = ("20bn-something-something-v1", "frames")
V2_FOLDERS = ("20bn-something-something-v2", "videos")


def read_something_something_v1(root: Path, media: Path | None) -> ListedCorpus:
    """Read `labels.csv`, `train.csv`, `validation.csv` and `test.csv`, in `root` or in `root/labels`.

    Names with the prefix `something-something-v1-` are the same. The lines of `labels.csv` are the classes, in their
    order; those of the lists are `id;template`, of the test list `id` alone. Videos are folders of pictures
    `ID/00001.jpg` in `media`, or in `root/20bn-something-something-v1`, `root/frames` or `root`.

    Raises:
        FileNotFoundError: a list is missing.
        ValueError: a line is not of this form, or a template is no class.
    """
    labels_file, lists = _find_lists(root, V1_PREFIX, ".csv")
    names = [_without_brackets(line) for _, line in read_lines(labels_file)]
    ids = {name: number for number, name in enumerate(names)}
    if len(ids) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{labels_file} names the class {twice!r} twice; each line is another class")
    entries = {split: list(_read_table(path, ids)) for split, path in lists.items()}
    return listed_by_name(names, entries, media_folder(root, media, V1_FOLDERS), "")


def read_something_something_v2(root: Path, media: Path | None) -> ListedCorpus:
    """Read `labels.json`, `train.json`, `validation.json` and `test.json`, in `root` or in `root/labels`.

    Names with the prefix `something-something-v2-` are the same. The class of an entry is its template without
    brackets; entries of the test list have none. Videos are `ID.webm` (or another suffix, or a folder of frames) in
    `media`, or in `root/20bn-something-something-v2`, `root/videos` or `root`.

    Raises:
        FileNotFoundError: a list is missing.
        ValueError: a file is not of this form, or a template is no class.
    """
    labels_file, lists = _find_lists(root, V2_PREFIX, ".json")
    ids = _class_ids(labels_file)
    entries = {split: list(_read_entries(path, ids)) for split, path in lists.items()}
    return listed_by_name(sorted(ids, key=ids.__getitem__), entries, media_folder(root, media, V2_FOLDERS), ".webm")


def _find_lists(root: Path, prefix: str, suffix: str) -> tuple[Path, dict[str, Path]]:
    """Find the file of classes, and the list of each split that there is."""

    def find(stem: str) -> Path | None:
        places = [folder / f"{start}{stem}{suffix}" for folder in (root, root / "labels") for start in ("", prefix)]
        return next((place for place in places if place.is_file()), None)

    labels_file = find("labels")
    if labels_file is None:
        raise FileNotFoundError(f"{root} has no labels{suffix} (or {prefix}labels{suffix}) of templates")
    found = {split: find(stems[-1]) for split, stems in SPLIT_FILES.items()}
    lists = {split: path for split, path in found.items() if path is not None}
    if not lists:
        raise FileNotFoundError(f"{root} has none of train{suffix}, validation{suffix} and test{suffix}")
    return labels_file, lists


def _read_table(path: Path, ids: Mapping[str, int]) -> Iterator[tuple[str, int | None]]:
    """Yield the name and the class id of each line `id;template` or `id`."""
    for number, line in read_lines(path):
        video_id, *templates = (part.strip().strip('"') for part in line.split(";"))
        if not video_id or len(templates) > 1:
            raise ValueError(f"{path}, line {number}: expected id;template, got {line!r}")
        where = f"{path}, line {number}"
        yield video_id, _class_id(templates[0], ids, video_id, where) if templates else None


def _class_ids(path: Path) -> dict[str, int]:
    """Read `{template: number as text}`."""
    content = read_json_object(path, "the classes of Something-Something v2")
    numbers = {template: str(number) for template, number in content.items()}
    ids = {_without_brackets(name): int(text) for name, text in numbers.items() if re.fullmatch("[0-9]{1,9}", text)}
    if sorted(ids.values()) != list(range(len(content))):
        raise ValueError(f"{path} must number its {len(content)} templates from 0 to {len(content) - 1}, each once")
    return ids


def _read_entries(path: Path, ids: Mapping[str, int]) -> Iterator[tuple[str, int | None]]:
    """Yield the name and the class id of each entry of a list of videos."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path} must hold a list of videos, got {type(entries).__name__}")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or "id" not in entry:
            raise ValueError(f"{path}, entry {number}: expected an object with 'id' and 'template', got {entry!r}")
        video_id, template = str(entry["id"]), entry.get("template")
        where = f"{path}, entry {number}"
        yield video_id, None if template is None else _class_id(str(template), ids, video_id, where)


def _class_id(template: str, ids: Mapping[str, int], video_id: str, where: str) -> int:
    name = _without_brackets(template)
    if name not in ids:
        raise ValueError(
            f"{where}: the template {name!r} of video {video_id} is none of the {len(ids)} classes"
            f"{nearest_hint(name, ids)}"
        )
    return ids[name]


def _without_brackets(template: str) -> str:
    return template.replace("[", "").replace("]", "")
