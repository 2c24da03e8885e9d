"""Published corpora of labelled videos: the lists of Kinetics, both versions of Something-Something, and Charades.

Nothing is downloaded. Lists of Kinetics are those of SlowFast (`train.csv`, `val.csv`, `test.csv`: `path,label`) and
of MMAction (`*_train_list_videos.txt`: `path label`, and `*_train_list_rawframes.txt`: `folder frames label`).
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...processing.media_suffixes import VIDEO_SUFFIXES
from ...text_files import read_lines
from ..class_lists import CLASS_FILE, MAX_CLASSES, read_class_names
from ..content_checks import name_some
from ..contracts import features_for
from ..named_files import name_below
from .charades import read_charades
from .corpus_folders import corpus_folder
from .listed_videos import SPLIT_FILES, ListedCorpus, ListedVideo
from .something_something import read_something_something_v1, read_something_something_v2

if TYPE_CHECKING:
    from datasets import DatasetDict

VIDEO_TASK = "video-classification"
KINETICS_CLASSES = {"kinetics400": 400, "kinetics600": 600, "kinetics700": 700}
LIST_HEADERS = ((1, "path,label"), (1, "path label"))
FIRST_FEW = 20


def read_published_video_corpus(
    name: str, data_dir: Path | None, media_dir: Path | None = None, *, skip_missing_files: bool = False
) -> "DatasetDict":
    """Read one of `PUBLISHED_VIDEO_CORPORA` from its folder.

    Args:
        name: a key of `PUBLISHED_VIDEO_CORPORA`.
        data_dir: the folder of the lists, see the reader of the corpus.
        media_dir: the folder of the videos; `None` to look for it under `data_dir`.
        skip_missing_files: leave out videos that are not there, with a warning that counts them.

    Returns:
        Per split the columns `video` and `label`: null in test lists without classes, a list where there are several.

    Raises:
        ValueError: without a folder, for a line or entry that is not of the layout, or an unknown class.
        FileNotFoundError: the folder, the lists or videos are missing.
    """
    from datasets import Dataset, DatasetDict, List

    root = corpus_folder(name, data_dir)
    media = None if media_dir is None else Path(media_dir).expanduser().absolute()
    if media is not None and not media.is_dir():
        raise FileNotFoundError(f"there is no folder {media} with the videos of {name}")
    corpus = PUBLISHED_VIDEO_CORPORA[name](root, media)
    features = features_for(VIDEO_TASK, ("video", "label"), corpus.class_names)
    if corpus.has_several:
        features["label"] = List(features["label"])
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {"video": [video.path for video in videos], "label": [video.label for video in videos]},
                features=features,
            )
            for split, videos in _present(corpus, name, skip_missing_files).items()
        }
    )


def read_video_lists(root: Path, media: Path | None, num_classes: int | None = None) -> ListedCorpus:
    """Read `train.csv`, `val.csv`, `test.csv` of SlowFast, or `*train*list*.txt` and so on of MMAction.

    A line is a path and a class id from 0, with a comma or a blank between them; between them may stand the number
    of frames of a folder of frames. Paths are absolute, or from `media`, or from whichever of `root`, `root/videos`,
    `root/videos_<split>` and `root/<split>` has the most of them (of the first few). Class names stand in
    `classes.txt`; without it they are the ids.

    Args:
        root: the folder of the lists.
        media: the folder of the videos.
        num_classes: of the corpus; `None` for as many as the lists use.

    Raises:
        FileNotFoundError: there is no list.
        ValueError: a line is not a path and a class id, or the id is none of the classes or cannot be one.
    """
    lists = {split: found for split, stems in SPLIT_FILES.items() if (found := _find_list(root, stems))}
    if not lists:
        raise FileNotFoundError(
            f"{root} has no train.csv, val.csv or test.csv (path,label) and no *_train_list*.txt (path label)"
        )
    lines = {split: list(_read_list(path)) for split, path in lists.items()}
    names = read_class_names(root)
    if names is None:
        names = [str(label) for label in range(num_classes or _count_classes(lines, lists, root))]
    corpus = ListedCorpus(names)
    for split, rows in lines.items():
        for number, path, label in rows:
            if label >= len(names):
                raise ValueError(
                    f"{lists[split]}, line {number}: class {label} of {path}, but the {len(names)} classes have the "
                    f"ids 0 to {len(names) - 1}"
                )
        paths = [path for _, path, _ in rows]
        folder = media or _folder_with_most(_video_folders(root, split), paths[:FIRST_FEW])
        corpus.splits[split] = [ListedVideo(_place_of(folder, path), label, path) for _, path, label in rows]
        corpus.folders[split] = str(folder)
    return corpus


PUBLISHED_VIDEO_CORPORA: dict[str, Callable[[Path, Path | None], ListedCorpus]] = {
    **{name: partial(read_video_lists, num_classes=count) for name, count in KINETICS_CLASSES.items()},
    "charades": read_charades,
    "video_lists": read_video_lists,
    "something_something_v1": read_something_something_v1,
    "something_something_v2": read_something_something_v2,
}


def _present(corpus: ListedCorpus, name: str, skip_missing_files: bool) -> dict[str, list[ListedVideo]]:
    """Give the videos that are there; say which are not."""
    kept, sentences = {}, []
    for split, videos in corpus.splits.items():
        there = [os.path.exists(video.path) for video in videos]
        missing = [video.name for video, exists in zip(videos, there, strict=True) if not exists]
        kept[split] = [video for video, exists in zip(videos, there, strict=True) if exists]
        if missing:
            sentences.append(
                f"{len(missing)} of {len(videos)} videos of split {split!r} are missing in {corpus.folders[split]} "
                f"({name_some(missing)})"
            )
    if sentences and not skip_missing_files:
        raise FileNotFoundError(
            f"{name}: {'; '.join(sentences)}; give the folder of the videos as media_dir, or leave missing ones out "
            "with skip_missing_files"
        )
    for sentence in sentences:
        warnings.warn(f"{name}: {sentence}; they are left out", stacklevel=4)
    return kept


def _find_list(root: Path, stems: Sequence[str]) -> Path | None:
    for stem in stems:
        if (root / f"{stem}.csv").is_file():
            return root / f"{stem}.csv"
    found = [file for stem in stems for file in sorted(root.glob(f"*{stem}*list*.txt"))]
    if len(found) > 1:
        raise ValueError(f"{root} has several lists of the same split: {name_some(found)}; keep one")
    return found[0] if found else None


def _read_list(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield (line number, path, class id) of the lines that are not empty."""
    lines = [(number, line) for number, line in read_lines(path) if (number, line) not in LIST_HEADERS]
    splits = [_split_line(line) for _, line in lines]
    # Either every line tells the number of frames of a folder too, or a number before the last is part of a name.
    num_numbers = min((len(numbers) for _, numbers in splits), default=0)
    for (number, line), (paths, numbers) in zip(lines, splits, strict=True):
        if not numbers:
            raise ValueError(f"{path}, line {number}: expected a path and a class id (path,label), got {line!r}")
        is_video = os.path.splitext(paths[0])[1].lower() in VIDEO_SUFFIXES
        if num_numbers > 2 or (is_video and len(numbers) > 1):
            expected = "one class id" if is_video else "the frames of a folder and its class"
            raise ValueError(
                f"{path}, line {number}: {len(numbers)} numbers after {paths[0]!r} where {expected} may stand; videos "
                "of several classes are read from metadata.csv with file_name,label and labels like 0;3"
            )
        yield number, paths[-num_numbers], numbers[-1]


def _split_line(line: str) -> tuple[list[str], list[int]]:
    """Give the whole numbers that end a line, and for each what stands before it: a path, perhaps in quotes."""
    quoted = re.match(r'"((?:[^"]|"")+)"(?=[,\s])', line)
    words = list(re.finditer(r"[^,\s]+", line[quoted.end() :] if quoted else line))
    paths: list[str] = []
    numbers: list[int] = []
    while len(words) > (0 if quoted else 1) and (found := re.fullmatch('"?([0-9]{1,9})"?', words[-1][0])):
        before = quoted[1].replace('""', '"') if quoted else line[: words[-1].start()].rstrip(", \t")
        paths.insert(0, before)
        numbers.insert(0, int(found[1]))
        words.pop()
    return (paths, numbers) if not quoted or not words else ([], [])


def _count_classes(lines: dict[str, list[tuple[int, str, int]]], lists: dict[str, Path], root: Path) -> int:
    """Give the number of classes that lists without names use; ids that none of them uses are told."""
    where = {label: f"{lists[split]}, line {number}" for split, rows in lines.items() for number, _, label in rows}
    count = max(where, default=-1) + 1
    if count > MAX_CLASSES:
        raise ValueError(f"{where[count - 1]}: the class id {count - 1} is beyond {MAX_CLASSES}; ids count from 0")
    unused = [label for label in range(count) if label not in where]
    if unused:
        warnings.warn(
            f"{root}: {len(unused)} of {count} class ids occur in no list ({name_some(unused)}); name the classes in "
            f"{CLASS_FILE} if the ids do not count from 0",
            stacklevel=6,
        )
    return count


def _video_folders(root: Path, split: str) -> list[Path]:
    stems = SPLIT_FILES[split]
    return [root, root / "videos", *(root / f"videos_{stem}" for stem in stems), *(root / stem for stem in stems)]


def _folder_with_most(folders: Sequence[Path], paths: Sequence[str]) -> Path:
    """Give the folder in which most of the paths are, the first of those that are equal."""
    return max(
        folders,
        key=lambda folder: sum(os.path.exists(_place_of(folder, path)) for path in paths),
    )


def _place_of(folder: Path, path: str) -> str:
    # Lists have hundreds of thousands of lines, for which `Path` is slow.
    return os.path.join(folder, name_below(folder, path))
