"""Folders of videos that nobody has labelled, for what is learned without labels.

All videos below a folder, however deep, are one corpus. Its top folders are splits where their whole names are names
of splits; everything else is `train`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..contracts import features_for
from ..split_names import split_named
from .class_folders import DEFAULT_SPLIT, find_media, has_class_folders, read_class_folders, walk_folder

if TYPE_CHECKING:
    from datasets import DatasetDict

MOTION_TASK = "motion-pretraining"
VIDEO_TASK = "video-classification"


def read_plain_videos(root: Path) -> "DatasetDict":
    """Read a folder of videos; folders of pictures are videos too.

    Where every video lies in the folder of a class, the classes are taken along.

    Raises:
        FileNotFoundError: there is no video, or a link leads nowhere.
        ValueError: as `read_class_folders`, for folders of classes.
    """
    from datasets import Dataset, DatasetDict

    media = sorted(find_media(walk_folder(root)[0], VIDEO_TASK))
    if not media:
        raise FileNotFoundError(f"{root} holds no video to learn from; docs/data.md shows the layouts")
    if has_class_folders(root, media):
        return read_class_folders(root, VIDEO_TASK)
    splits: dict[str, list[str]] = {}
    for parts in media:
        split = split_named(parts[0]) if len(parts) > 1 else None
        splits.setdefault(split or DEFAULT_SPLIT, []).append(os.path.join(root, *parts))
    features = features_for(MOTION_TASK, ("video",), ())
    return DatasetDict(
        {split: Dataset.from_dict({"video": paths}, features=features) for split, paths in splits.items()}
    )
