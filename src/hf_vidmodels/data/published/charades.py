"""Charades as its publisher distributes it: films of half a minute with several actions. Nothing is downloaded."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ...text_files import read_lines
from ..content_checks import name_some
from ..own.temporal_annotations import read_csv_rows
from .listed_videos import ListedCorpus, listed_by_name, media_folder

# The publisher's test list is what everybody validates on: a list without labels was never given out.
LISTS = {"train": "Charades_v1_train.csv", "test": "Charades_v1_test.csv"}
CLASSES = "Charades_v1_classes.txt"
FOLDERS = ("Charades_v1_480", "Charades_v1", "Charades_v1_rgb", "videos")
_ACTION = re.compile(r"c([0-9]{3}) [0-9.]+ [0-9.]+")


def read_charades(root: Path, media: Path | None) -> ListedCorpus:
    """Read `Charades_v1_train.csv`, `Charades_v1_test.csv` and `Charades_v1_classes.txt` in `root` or `root/Charades`.

    The classes of a video are those of all its actions, wherever they happen. Videos without any are left out, which
    a warning counts. Videos are `ID.mp4`, or folders of frames `ID/ID-000001.jpg`, in `media`, or in
    `root/Charades_v1_480`, `root/Charades_v1`, `root/Charades_v1_rgb`, `root/videos` or `root`.

    Raises:
        FileNotFoundError: the classes or both lists are missing.
        ValueError: a line is not of this form, or an action is no class.
    """
    folder = next((place for place in (root, root / "Charades") if (place / CLASSES).is_file()), None)
    if folder is None:
        raise FileNotFoundError(f"{root} has no {CLASSES}, which names the classes of Charades")
    names = list(_read_classes(folder / CLASSES))
    lists = {split: folder / name for split, name in LISTS.items() if (folder / name).is_file()}
    if not lists:
        raise FileNotFoundError(f"{folder} has neither {' nor '.join(LISTS.values())}")
    entries, idle = {}, []
    for split, path in lists.items():
        rows = list(_read_list(path, len(names)))
        entries[split] = [(video_id, classes) for video_id, classes in rows if classes]
        idle += [video_id for video_id, classes in rows if not classes]
    if idle:
        warnings.warn(
            f"charades: {len(idle)} videos have no action ({name_some(idle)}); they are left out", stacklevel=4
        )
    return listed_by_name(names, entries, media_folder(root, media, FOLDERS), ".mp4", has_several=True)


def _read_classes(path: Path) -> Iterator[str]:
    """Yield the names of the lines `c000 Holding some clothes`, in their order."""
    for position, (number, line) in enumerate(read_lines(path)):
        key, _, name = line.partition(" ")
        if key != f"c{position:03d}" or not name.strip():
            raise ValueError(f"{path}, line {number}: expected c{position:03d} and the name of a class, got {line!r}")
        yield name.strip()


def _read_list(path: Path, num_classes: int) -> Iterator[tuple[str, list[int]]]:
    """Yield the name and the class ids, ascending, of each video."""
    columns, rows = read_csv_rows(path)
    if not {"id", "actions"} <= set(columns):
        raise ValueError(f"{path} must have the columns id and actions, got {', '.join(columns)}")
    for _, row in rows:
        ids = set()
        for action in filter(None, row["actions"].split(";")):
            found = _ACTION.fullmatch(action.strip())
            if found is None or int(found[1]) >= num_classes:
                raise ValueError(
                    f"{path}, video {row['id']}: expected actions like 'c092 11.90 21.20' of the {num_classes} "
                    f"classes, got {action!r}"
                )
            ids.add(int(found[1]))
        yield row["id"], sorted(ids)
