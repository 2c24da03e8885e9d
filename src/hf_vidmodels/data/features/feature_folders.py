"""Folders of feature files: one `<video_id>.npy` a video, and a `features.json` that says how they were made."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...atomic_io import atomic_write, read_json_object, write_json
from ...output_files import output_file
from ...processing.media_suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from datasets import Dataset

SETTINGS_FILE = "features.json"
# Where networks lie may change; what they are is in the digests of their weights.
PLACE_FIELDS = frozenset({"model", "subfolder", "revision", "model_config", "random_init_seed", "weights"})


class FeatureFolder:
    """A folder of feature files that all have the same settings; made when missing.

    Args:
        path: the folder.
        description: everything that shapes the features, as JSON, and the `weights_sha256` of the networks; kept in
            `features.json`.
        feature_size: C of every file.

    Raises:
        ValueError: when the folder holds features made with other settings; the message names the field.
        OSError: when the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], description: Mapping[str, Any], feature_size: int) -> None:
        self.path = Path(path)
        self.feature_size = feature_size
        settings_file = self.path / SETTINGS_FILE
        description = json.loads(json.dumps({**description, "feature_size": feature_size}))
        if settings_file.exists():
            _refuse_other_settings(settings_file, description)
        elif self.path.is_dir() and any(self.path.glob("*.npy")):
            raise ValueError(
                f"{self.path} holds feature files but no {SETTINGS_FILE} that says how they were made; choose another "
                "folder"
            )
        else:
            write_json(settings_file, description)

    def file_of(self, video_id: str) -> Path:
        """Give the path of a video's features.

        Raises:
            ValueError: when the id cannot be a file name, see `output_file`.
        """
        return output_file(self.path, video_id, ".npy")

    def num_rows(self, video_id: str) -> int | None:
        """Number of feature rows of a video, or `None` when it has no complete file."""
        try:
            features = np.load(self.file_of(video_id), mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        fits = features.ndim == 2 and features.shape[1] == self.feature_size and features.dtype == np.float32
        return len(features) if fits and len(features) else None

    def write(self, video_id: str, features: np.ndarray) -> None:
        """Write the features of one video, atomically."""
        with atomic_write(self.file_of(video_id)) as file:
            np.save(file, features)


def read_extractor_settings(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read how features are made: from a `features.json`, or from a JSON file that holds the settings alone.

    Raises:
        FileNotFoundError, ValueError: the file is missing or no JSON object.
    """
    settings = read_json_object(Path(path), "settings of networks, as features.json does")
    return settings.get("extractor", settings)


def find_videos(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Find the videos in a folder and its sub-folders.

    Args:
        folder: holds video files, or sub-folders of numbered frames.

    Returns:
        The path of every video by its id (the name without suffix), in order of the ids.

    Raises:
        FileNotFoundError: when there is no such folder, or no video in it.
        ValueError: when two videos have the same id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give the folder that holds the videos")
    videos: dict[str, Path] = {}
    for video_id, path in _walk(folder):
        if video_id in videos:
            raise ValueError(f"{videos[video_id]} and {path} would both be called {video_id!r}; rename one of them")
        videos[video_id] = path
    if not videos:
        raise FileNotFoundError(
            f"{folder} holds no videos; expected files such as .mp4, .avi, .webm or .gif, or folders of numbered "
            "frames"
        )
    return dict(sorted(videos.items()))


def videos_of_corpus(corpus: "Dataset | Mapping[str, Dataset]") -> dict[str, Any]:
    """Give the video of every id of a corpus with the columns `video_id` and `video`, all splits together.

    Raises:
        ValueError: when a column is missing, a row has no video, or an id occurs twice.
    """
    videos: dict[str, Any] = {}
    for split in corpus.values() if isinstance(corpus, Mapping) else (corpus,):
        missing = [column for column in ("video_id", "video") if column not in split.column_names]
        if missing:
            raise ValueError(
                f"the corpus has no column {missing[0]!r} but {split.column_names}; features are made of videos"
            )
        for row in split.select_columns(["video_id", "video"]):
            if row["video"] is None:
                raise ValueError(f"the corpus has no video for the id {row['video_id']!r}")
            if row["video_id"] in videos:
                raise ValueError(f"the corpus has the video id {row['video_id']!r} twice")
            videos[row["video_id"]] = row["video"]
    return videos


def resolve_videos(videos: Any) -> dict[str, Any]:
    """Give the source of every video by its id.

    Args:
        videos: a folder, a corpus (or one split of it), or already a source by id.

    Raises:
        FileNotFoundError, ValueError: as `find_videos` and `videos_of_corpus`.
    """
    if isinstance(videos, str | os.PathLike):
        return find_videos(videos)
    if isinstance(videos, Mapping) and not any(hasattr(value, "column_names") for value in videos.values()):
        return dict(videos)
    return videos_of_corpus(videos)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in sorted(files) if not name.startswith(".")]
        if Path(parent) != folder and any(Path(name).suffix.lower() in PICTURE_SUFFIXES for name in names):
            yield Path(parent).name, Path(parent)
            folders[:] = []
            continue
        for name in names:
            if Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(name).stem, Path(parent) / name


def _refuse_other_settings(settings_file: Path, description: Mapping[str, Any]) -> None:
    try:
        before = json.loads(settings_file.read_text(encoding="utf-8"))
        same_weights = before["weights_sha256"] == description["weights_sha256"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{settings_file} is not what this tool writes; choose another folder") from error
    before, now = _flat(before), _flat(description)
    for field in sorted(before.keys() | now.keys()):
        if same_weights and PLACE_FIELDS.intersection(field.split(".")):
            continue
        if before.get(field) != now.get(field):
            raise ValueError(
                f"the features in {settings_file.parent} were made with {field} = {before.get(field)!r}, now it is "
                f"{now.get(field)!r}; use the same settings or another output folder"
            )


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
