"""THUMOS-14 and ActivityNet-1.3 in the layout in which weakly supervised methods publish their features.

A folder with `gt.json`, `split_train.txt` and `split_test.txt` (one video id a line), and features of 16 frames a
snippet at 25 fps in `train/ID.npy` and `test/ID.npy`. The evaluation set of ActivityNet lies in `test/` too and
becomes the split `validation`.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...text_files import read_lines
from ..content_checks import name_some
from ..contracts import nearest_hint
from ..own.temporal_annotations import VideoAnnotation, read_annotation_json
from ..own.temporal_corpora import attach_files, build_temporal_corpus, fill_durations, require_files
from .published_classes import ACTIVITYNET_CLASSES, THUMOS14_CLASSES

if TYPE_CHECKING:
    from datasets import DatasetDict

FRAMES_PER_SECOND = 25.0
FRAMES_PER_SNIPPET = 16


@dataclass(frozen=True)
class PublishedTemporalCorpus:
    """A published corpus of untrimmed videos.

    Attributes:
        name: what `load_corpus` is asked for.
        class_names: official class names, sorted by code point.
        splits: our split name to the official one, which names the id file and the feature folder.
        split_of: which of our splits an annotated video belongs to, by its subset or id; None = neither.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, str]
    split_of: Callable[[VideoAnnotation], str | None]


def _thumos_split(annotation: VideoAnnotation) -> str | None:
    """THUMOS-14 trains on its validation subset; where no subset is written the id names it."""
    subset = (annotation.subset or annotation.video_id).lower()
    if "validation" in subset or subset == "train":
        return "train"
    return "test" if "test" in subset else None


def _activitynet_split(annotation: VideoAnnotation) -> str | None:
    subset = (annotation.subset or "").lower()
    return {"train": "train", "training": "train", "val": "validation", "validation": "validation"}.get(subset)


PUBLISHED_TEMPORAL_CORPORA = {
    corpus.name: corpus
    for corpus in (
        PublishedTemporalCorpus("thumos14", THUMOS14_CLASSES, {"train": "train", "test": "test"}, _thumos_split),
        PublishedTemporalCorpus(
            "activitynet", ACTIVITYNET_CLASSES, {"train": "train", "validation": "test"}, _activitynet_split
        ),
    )
}


def read_published_temporal_corpus(name: str, data_dir: str | Path | None) -> "DatasetDict":
    """Read one of `PUBLISHED_TEMPORAL_CORPORA` from its folder.

    Durations come from `gt.json` where it has them, otherwise from the number of features. Annotated videos that the
    split files leave out are reported as a warning, because results then cover fewer videos than published ones may.

    Raises:
        FileNotFoundError: the folder, one of its files or any feature file is missing (all of them are named).
        ValueError: no `data_dir`, a video without annotation, in both splits or twice in one, an unknown class.
    """
    published = PUBLISHED_TEMPORAL_CORPORA[name]
    if data_dir is None:
        raise ValueError(
            f"{name} needs data_dir: the folder with gt.json, split_train.txt, split_test.txt, train/ID.npy and "
            "test/ID.npy"
        )
    root = Path(data_dir).expanduser().absolute()
    _require_layout(published, root)
    annotations = read_annotation_json(root / "gt.json")
    ids = {split: read_ids(root / f"split_{official}.txt") for split, official in published.splits.items()}
    shared = sorted(set.intersection(*map(set, ids.values())))
    if shared:
        raise ValueError(
            f"{len(shared)} videos are in more than one split file of {root} ({name_some(shared)}); a model must not "
            "be tested on videos that it was trained on"
        )
    splits = {}
    for split, official in published.splits.items():
        chosen = _choose(annotations, ids[split], root / f"split_{official}.txt")
        attach_files(chosen, root, official)
        for annotation in chosen:
            annotation.fps, annotation.frames_per_snippet = FRAMES_PER_SECOND, FRAMES_PER_SNIPPET
        splits[split] = chosen
    everyone = [annotation for chosen in splits.values() for annotation in chosen]
    require_files(everyone, str(root))
    fill_durations(everyone)
    _report_subsets(published, annotations, ids)
    return build_temporal_corpus(splits, published.class_names, str(root / "gt.json"))


def read_ids(path: Path) -> list[str]:
    """Read a file with one video id a line; empty lines do not count.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an id stands there twice.
    """
    ids = [line for _, line in read_lines(path)]
    repeated = [video_id for video_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{path} has {len(repeated)} video ids more than once ({name_some(repeated)}); remove them")
    return ids


def _require_layout(published: PublishedTemporalCorpus, root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"data_dir {root} for {published.name} is not a folder")
    needed = ["gt.json", *(f"split_{official}.txt" for official in published.splits.values())]
    missing = [file for file in needed if not (root / file).is_file()]
    if missing:
        is_wtalc = (root / "videoname.npy").is_file() and (root / "segments.npy").is_file()
        way_out = (
            "it holds W-TALC annotations: convert them with scripts/convert_wtalc_annotations.py"
            if is_wtalc
            else "docs/data.md shows the layout"
        )
        raise FileNotFoundError(f"{root} has no {', '.join(missing)}, which {published.name} needs; {way_out}")


def _choose(annotations: dict[str, VideoAnnotation], ids: list[str], split_file: Path) -> list[VideoAnnotation]:
    absent = [video_id for video_id in ids if video_id not in annotations]
    if absent:
        raise ValueError(
            f"{len(absent)} videos of {split_file} have no entry in gt.json ({name_some(absent)})"
            f"{nearest_hint(absent[0], annotations)}; remove their ids or add their annotations"
        )
    return [annotations[video_id] for video_id in ids]


def _report_subsets(
    published: PublishedTemporalCorpus, annotations: dict[str, VideoAnnotation], ids: dict[str, list[str]]
) -> None:
    for split, split_ids in ids.items():
        listed = set(split_ids)
        of_split = {video_id for video_id, entry in annotations.items() if published.split_of(entry) == split}
        absent, foreign = sorted(of_split - listed), sorted(listed - of_split)
        if absent:
            warnings.warn(
                f"{published.name}: {len(absent)} of {len(of_split)} annotated videos of split {split!r} are not in "
                f"its split file and take no part ({name_some(absent, limit=20)})",
                stacklevel=4,
            )
        if foreign:
            warnings.warn(
                f"{published.name}: {len(foreign)} videos of split {split!r} have another subset in gt.json "
                f"({name_some(foreign)})",
                stacklevel=4,
            )
