"""`load_corpus`: one door to embedded, published, shared and own corpora, all with the columns of `contracts.py`."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .contracts import (
    find_column_problems,
    infer_task,
    nearest_hint,
    refuse_other_task,
    task_contract,
    validate_corpus,
)
from .instances.mask_corpora import MASK_TASK
from .own.own_corpora import read_own_corpus
from .own.temporal_corpora import TEMPORAL_TASK
from .published.published_action_corpora import (
    ACTION_TASK,
    PUBLISHED_ACTION_CORPORA,
    read_published_action_corpus,
)
from .published.published_image_corpora import IMAGE_TASK, PUBLISHED_IMAGE_CORPORA, read_published_image_corpus
from .published.published_mask_corpora import PUBLISHED_MASK_CORPORA, read_published_mask_corpus
from .published.published_object_corpora import OBJECT_TASK, PUBLISHED_OBJECT_CORPORA, read_published_object_corpus
from .published.published_temporal_corpora import PUBLISHED_TEMPORAL_CORPORA, read_published_temporal_corpus
from .published.published_video_corpora import PUBLISHED_VIDEO_CORPORA, VIDEO_TASK, read_published_video_corpus
from .shared_data_sets import fit_to_task, load_hub_data_set

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

EMBEDDED_PREFIX = "embedded/"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Corpus:
    """A corpus as read, before its contents are checked.

    Attributes:
        splits: data sets by split name.
        task: a key of `tasks.TASKS`.
        is_published: whether its annotations are published ones, whose known mistakes are warnings only.
    """

    splits: "DatasetDict"
    task: str
    is_published: bool


def load_corpus(
    name_or_path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    split: str | None = None,
    task: str | None = None,
    *,
    allow_out_of_duration: bool | None = None,
    media_dir: str | os.PathLike[str] | None = None,
    skip_missing_files: bool = False,
) -> "DatasetDict | Dataset":
    """Load a corpus with the columns of its task and check it.

    Args:
        name_or_path: an embedded corpus (`embedded/untrimmed`), a published one (`thumos14`, `coco`, ...), a folder
            or table of one's own, or the id of a data set on the Hub (`owner/name`).
        data_dir: folder of a published corpus; of an own table, folder of its media files; of an embedded corpus,
            folder to make it in.
        split: give this split only.
        task: a key of `tasks.TASKS`; None = the one whose columns these are. A corpus of another task serves
            where its columns do.
        allow_out_of_duration: whether segments beyond the end of their video are a warning instead of an error;
            None = for published corpora only, as THUMOS-14 has 30 of them.
        media_dir: folder of the videos of published lists of videos (`kinetics400`, `ava_v2.2`, ...); None = found
            under `data_dir`.
        skip_missing_files: leave out videos of such lists that are not there, with a warning that counts them.

    Returns:
        The data sets by split name, or one data set when `split` is given. All are map-style; videos and features
        stay in their files.

    Raises:
        FileNotFoundError: no such corpus, or files are missing (all of them are named).
        ValueError: unknown split or task, a corpus of another task (says which), or one that does not fit its task;
            one sentence for each problem.
        OSError: a data set on the Hub could not be fetched.
    """
    corpus = read_corpus(name_or_path, data_dir, task, media_dir=media_dir, skip_missing_files=skip_missing_files)
    if allow_out_of_duration is None:
        allow_out_of_duration = corpus.is_published
    validate_corpus(corpus.splits, corpus.task, allow_out_of_duration=allow_out_of_duration)
    if split is None:
        return corpus.splits
    if split not in corpus.splits:
        hint = nearest_hint(split, corpus.splits)
        raise ValueError(f"{name_or_path} has no split {split!r}{hint}; it has: {', '.join(corpus.splits)}")
    return corpus.splits[split]


def read_corpus(
    name_or_path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    task: str | None = None,
    *,
    media_dir: str | os.PathLike[str] | None = None,
    skip_missing_files: bool = False,
) -> Corpus:
    """Read a corpus without checking its contents; arguments and errors as `load_corpus`.

    Pictures are read by the rules of `picture_reading.py`: pixels as stored, in 8-bit RGB.
    """
    from .stored_pictures import with_stored_pictures

    corpus = _read_corpus(name_or_path, data_dir, task, media_dir, skip_missing_files)
    with_stored_pictures(corpus.splits)
    return corpus


def _read_corpus(
    name_or_path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None,
    task: str | None,
    media_dir: str | os.PathLike[str] | None,
    skip_missing_files: bool,
) -> Corpus:
    if task is not None:
        task_contract(task)
    name = os.fspath(name_or_path)
    with_lists = (*PUBLISHED_VIDEO_CORPORA, *PUBLISHED_ACTION_CORPORA)
    if (media_dir is not None or skip_missing_files) and name not in with_lists:
        known = ", ".join(with_lists)
        raise ValueError(
            f"media_dir and skip_missing_files are for published lists of videos ({known}), not for {name}"
        )
    corpus = _read(name, data_dir, task, media_dir, skip_missing_files)
    if task in (None, corpus.task):
        return corpus
    refuse_other_task(next(iter(corpus.splits.values())).column_names, task, name)
    problems = find_column_problems(corpus.splits, task)
    if problems:
        raise ValueError(f"{name} is a corpus for {corpus.task}, not for {task}: {problems[0].sentence}")
    return replace(corpus, task=task)


def _read(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    task: str | None,
    media_dir: str | os.PathLike[str] | None,
    skip_missing_files: bool,
) -> Corpus:
    """Read a corpus from where it is; its task is its own, or `task` for those that leave it open."""
    if name.startswith(EMBEDDED_PREFIX):
        return _read_embedded(name, data_dir)
    if name in PUBLISHED_TEMPORAL_CORPORA:
        return Corpus(read_published_temporal_corpus(name, data_dir), TEMPORAL_TASK, is_published=True)
    if name in PUBLISHED_OBJECT_CORPORA:
        directory = None if data_dir is None else Path(data_dir)
        return Corpus(read_published_object_corpus(name, directory), OBJECT_TASK, is_published=True)
    if name in PUBLISHED_IMAGE_CORPORA:
        directory = None if data_dir is None else Path(data_dir)
        return Corpus(read_published_image_corpus(name, directory), IMAGE_TASK, is_published=True)
    if name in PUBLISHED_VIDEO_CORPORA:
        splits = read_published_video_corpus(name, data_dir, media_dir, skip_missing_files=skip_missing_files)
        return Corpus(splits, VIDEO_TASK, is_published=True)
    if name in PUBLISHED_ACTION_CORPORA:
        splits = read_published_action_corpus(name, data_dir, media_dir, skip_missing_files=skip_missing_files)
        return Corpus(splits, ACTION_TASK, is_published=True)
    if name in PUBLISHED_MASK_CORPORA:
        directory = None if data_dir is None else Path(data_dir)
        return Corpus(read_published_mask_corpus(name, directory), MASK_TASK, is_published=True)
    path = Path(name).expanduser().absolute()
    if path.exists():
        media = None if data_dir is None else Path(data_dir).expanduser().absolute()
        splits, task = read_own_corpus(path, media, task)
        return Corpus(fit_to_task(splits, task), task, is_published=False)
    if HUB_ID.fullmatch(name):
        splits = load_hub_data_set(name)
        columns = next(iter(splits.values())).column_names
        if task is not None:
            refuse_other_task(columns, task, name)
        task = task or infer_task(columns, name)
        return Corpus(fit_to_task(splits, task), task, is_published=False)
    raise _unknown_corpus(name)


def _read_embedded(name: str, cache_dir: str | os.PathLike[str] | None) -> Corpus:
    from .embedded.embedded_corpora import EMBEDDED_CORPORA, load_embedded_corpus

    kind = name.removeprefix(EMBEDDED_PREFIX)
    if kind not in EMBEDDED_CORPORA:
        raise _unknown_corpus(name)
    splits = load_embedded_corpus(kind, cache_dir=cache_dir)
    return Corpus(splits, EMBEDDED_CORPORA[kind].task, is_published=False)


def _unknown_corpus(name: str) -> FileNotFoundError:
    from .embedded.embedded_corpora import EMBEDDED_CORPORA

    embedded = [f"{EMBEDDED_PREFIX}{corpus}" for corpus in EMBEDDED_CORPORA]
    known = [
        *PUBLISHED_TEMPORAL_CORPORA,
        *PUBLISHED_OBJECT_CORPORA,
        *PUBLISHED_IMAGE_CORPORA,
        *PUBLISHED_VIDEO_CORPORA,
        *PUBLISHED_ACTION_CORPORA,
        *PUBLISHED_MASK_CORPORA,
        *embedded,
    ]
    return FileNotFoundError(
        f"there is no corpus {name!r}{nearest_hint(name, known)}; give one of {', '.join(known)}, an existing folder "
        "or table, or a Hub data set as owner/name"
    )
