"""What the lists of a published corpus of videos say, whichever form they have."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...processing.media_suffixes import VIDEO_SUFFIXES

# A class id, those of a video of several classes, or None where the list has none.
Label = int | list[int] | None
# What the files of each split may be called, without suffix.
SPLIT_FILES = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class ListedVideo:
    """One line of a list.

    Attributes:
        path: the video, absolute.
        label: its class or classes.
        name: what the list calls it.
    """

    path: str
    label: Label
    name: str


@dataclass
class ListedCorpus:
    """What the lists of a corpus say.

    Attributes:
        class_names: by class id.
        splits: videos by split.
        folders: for each split where its videos were looked for, for messages.
        has_several: whether a video may have several classes, so that labels are lists.
    """

    class_names: list[str]
    splits: dict[str, list[ListedVideo]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    has_several: bool = False


def media_folder(root: Path, media: Path | None, names: tuple[str, ...]) -> Path:
    """Give the folder of the videos: `media`, or the first of `names` in `root` that is there, or `root`."""
    return media or next((root / name for name in names if (root / name).is_dir()), root)


def listed_by_name(
    names: list[str],
    entries: Mapping[str, list[tuple[str, Label]]],
    folder: Path,
    suffix: str,
    *,
    has_several: bool = False,
) -> ListedCorpus:
    """Find the videos of all entries in a folder.

    Args:
        names: of the classes.
        entries: by split the name without suffix, and the label, of each video.
        folder: of video files and folders of frames.
        suffix: what a video that is not there would have behind its name.
        has_several: whether labels are lists.
    """
    files = _files_by_stem(folder)
    splits = {
        split: [
            ListedVideo(os.path.join(folder, files.get(video_id, f"{video_id}{suffix}")), label, video_id)
            for video_id, label in rows
        ]
        for split, rows in entries.items()
    }
    return ListedCorpus(names, splits, dict.fromkeys(splits, str(folder)), has_several)


def _files_by_stem(folder: Path) -> dict[str, str]:
    """Names in a folder by what they are without suffix: video files, and folders of frames."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {
            os.path.splitext(entry.name)[0]: entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES or entry.is_dir()
        }
