"""From annotations of untrimmed videos and a folder of their files to the data set that models are trained on."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...processing.feature_reading import FEATURE_SUFFIXES, feature_file, feature_shape
from ...processing.media_suffixes import VIDEO_SUFFIXES
from ..class_lists import class_lookup
from ..content_checks import name_some
from ..contracts import features_for, nearest_hint
from ..features.feature_folders import SETTINGS_FILE, read_extractor_settings
from ..named_files import name_below
from .temporal_annotations import VideoAnnotation

if TYPE_CHECKING:
    from datasets import DatasetDict

TEMPORAL_TASK = "temporal-action-localization"
# Time-lapse recordings of a frame a minute are the slowest videos that are meant.
MAX_SECONDS_PER_FRAME = 60.0


def index_files(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """Give the files of a folder by their name without suffix; empty for no folder.

    Of files with the same name the one whose suffix comes first in `suffixes` is taken.
    """
    if not folder.is_dir():
        return {}
    by_suffix: dict[str, dict[str, str]] = {suffix: {} for suffix in suffixes}
    for entry in os.scandir(folder):
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in by_suffix:
            by_suffix[suffix.lower()][stem] = entry.path
    return {stem: path for suffix in reversed(suffixes) for stem, path in by_suffix[suffix].items()}


def attach_files(annotations: Sequence[VideoAnnotation], root: Path, split: str) -> None:
    """Fill in the feature and video files that the annotations do not name themselves.

    Named paths are relative to `root`. Otherwise features are `features/ID.npy` (or `.npz`, `.h5`), the pair
    `features_rgb/ID.npy` and `features_flow/ID.npy`, or `SPLIT/ID.npy`; videos are `videos/ID.mp4` (or another video
    format) or `SPLIT/ID.mp4`. A `features/features.json`, as `hf-vidmodels extract` writes it, tells the rate
    of features whose annotations do not.
    """
    features = index_files(root / split, FEATURE_SUFFIXES) | index_files(root / "features", FEATURE_SUFFIXES)
    streams = [index_files(root / f"features_{stream}", FEATURE_SUFFIXES) for stream in ("rgb", "flow")]
    videos = index_files(root / split, sorted(VIDEO_SUFFIXES)) | index_files(root / "videos", sorted(VIDEO_SUFFIXES))
    for annotation in annotations:
        name = annotation.video_id
        if annotation.features is None:
            pair = [stream[name] for stream in streams if name in stream]
            annotation.features = features.get(name) or (pair if len(pair) == 2 else None)
        elif isinstance(annotation.features, str):
            annotation.features = str(root / name_below(root, annotation.features))
        else:
            annotation.features = [str(root / name_below(root, file)) for file in annotation.features]
        video = annotation.video
        annotation.video = videos.get(name) if video is None else str(root / name_below(root, video))
    _fill_rate(annotations, root / "features" / SETTINGS_FILE)


def _fill_rate(annotations: Iterable[VideoAnnotation], settings_file: Path) -> None:
    if not settings_file.is_file():
        return
    settings = read_extractor_settings(settings_file)
    for annotation in annotations:
        if annotation.features and annotation.fps is None and annotation.frames_per_snippet is None:
            annotation.fps = settings.get("frames_per_second")
            annotation.frames_per_snippet = settings.get("snippet_stride")


def require_files(annotations: Iterable[VideoAnnotation], where: str) -> None:
    """Refuse videos without a file of their own, all of them in one sentence.

    When any video has features, all must have; otherwise all must have a video file.

    Raises:
        FileNotFoundError: names every missing file.
    """
    annotations = list(annotations)
    column = "features" if any(annotation.features for annotation in annotations) else "video"
    missing = []
    for annotation in annotations:
        files = getattr(annotation, column)
        for file in files if isinstance(files, list) else [files]:
            if file is None or not feature_file(file).is_file():
                missing.append(file or annotation.video_id)
    if missing:
        what = "feature files" if column == "features" else "feature or video files"
        raise FileNotFoundError(
            f"{len(missing)} of {len(annotations)} {what} are missing in {where}: {', '.join(missing)}; extract them "
            "(hf-vidmodels extract) or take these videos out of the annotations or split files"
        )


def fill_durations(annotations: Iterable[VideoAnnotation]) -> None:
    """Compute the durations that the annotations leave open, from feature files or else from video files.

    Raises:
        ValueError: a duration cannot be known, or a video declares one that its frames cannot fill; names the videos
            and what to add.
    """
    unknown = []
    for annotation in annotations:
        if annotation.duration is not None:
            continue
        if annotation.features and annotation.fps and annotation.frames_per_snippet:
            num_snippets, _ = feature_shape(annotation.features)
            annotation.duration = num_snippets * annotation.frames_per_snippet / annotation.fps
        elif annotation.video:
            annotation.duration = _duration_of(annotation.video)
        if annotation.duration is None:
            unknown.append(annotation.video_id)
    if unknown:
        raise ValueError(
            f"{len(unknown)} videos have no duration ({name_some(unknown)}); add `duration` in seconds, or `fps` and "
            "`frames_per_snippet` of the features, or the video files"
        )


def _duration_of(video: str) -> float | None:
    """Give the length of a video in seconds; None for a folder of frames, which does not tell it."""
    from ...processing.decoding import probe_video

    metadata = probe_video(video)
    if math.isnan(metadata.duration):
        return None
    if metadata.duration > MAX_SECONDS_PER_FRAME * metadata.num_frames:
        raise ValueError(
            f"{video} declares {metadata.duration / 3600:.1f} hours for {metadata.num_frames} frames; repair its "
            "times, or add its true `duration` in seconds"
        )
    return metadata.duration


def build_temporal_corpus(
    splits: Mapping[str, Sequence[VideoAnnotation]], class_names: Sequence[str], where: str
) -> "DatasetDict":
    """Build the data sets of all splits from complete annotations (files and durations filled in).

    Args:
        splits: annotations by split name.
        class_names: all classes, in the order of their ids.
        where: file or corpus, for error messages.

    Raises:
        ValueError: a class that is not in `class_names`; names it and its videos.
    """
    from datasets import Dataset, DatasetDict, List, Value

    videos = [annotation for annotations in splits.values() for annotation in annotations]
    _refuse_unknown_classes(videos, class_names, where)
    ids = class_lookup(class_names)
    columns = ["video_id"] + [name for name in ("features", "video") if any(getattr(a, name) for a in videos)]
    columns += ["duration", "fps", "frames_per_snippet", "labels", "segments", "subset"]
    types = features_for(TEMPORAL_TASK, columns, class_names)
    if "features" in columns and _have_pairs(videos, where):
        types["features"] = List(Value("string"))

    def row(annotation: VideoAnnotation) -> dict[str, Any]:
        return {
            "video_id": annotation.video_id,
            "features": annotation.features,
            "video": annotation.video,
            "duration": annotation.duration,
            "fps": annotation.fps,
            "frames_per_snippet": annotation.frames_per_snippet,
            "labels": sorted({ids(label) for label in annotation.video_labels}),
            "segments": [
                {"start": start, "end": end, "label": ids(label)} for start, end, label in annotation.segments
            ],
            "subset": annotation.subset,
        }

    corpus = DatasetDict()
    for split, annotations in splits.items():
        rows = [row(annotation) for annotation in annotations]
        corpus[split] = Dataset.from_dict({name: [row[name] for row in rows] for name in columns}, features=types)
    return corpus


def _have_pairs(videos: Sequence[VideoAnnotation], where: str) -> bool:
    pairs = [annotation.video_id for annotation in videos if isinstance(annotation.features, list)]
    if pairs and len(pairs) < len(videos):
        raise ValueError(
            f"{where}: {len(pairs)} videos have a pair of feature files (rgb, flow) ({name_some(pairs)}) but the "
            "others one file; give all of them the same"
        )
    return bool(pairs)


def _refuse_unknown_classes(videos: Iterable[VideoAnnotation], class_names: Sequence[str], where: str) -> None:
    look_up = class_lookup(class_names)
    unknown: dict[str, list[str]] = {}
    for annotation in videos:
        for label in (label for label in annotation.all_labels if look_up(label) is None):
            unknown.setdefault(label, []).append(annotation.video_id)
    if unknown:
        found = "; ".join(
            f"{label!r}{nearest_hint(label, class_names)} in {name_some(videos, 3)}"
            for label, videos in sorted(unknown.items())
        )
        raise ValueError(f"{where}: unknown classes: {found}; there are {len(class_names)} known classes")
