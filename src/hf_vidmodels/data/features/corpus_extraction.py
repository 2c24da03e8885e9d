"""The features of many videos, made in one or several processes: who makes which file, and what is reported."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers.utils import logging

from ...processing.video_metadata import UnreadableVideoError
from .feature_extraction import SnippetFeatureExtractor
from .feature_folders import FeatureFolder, resolve_videos

# Number of feature rows, or why there are none.
Result = int | str

_worker: tuple[SnippetFeatureExtractor, FeatureFolder]


@dataclass(frozen=True)
class ExtractionReport:
    """What became of the videos of a corpus.

    Attributes:
        num_rows: feature rows of every video that has its features, by id.
        num_found: how many of them were there before.
        failures: why a video has no features, by id.
    """

    num_rows: dict[str, int]
    num_found: int
    failures: dict[str, str]

    def refuse_failures(self, max_failed: float) -> None:
        """Raise when no video has features, or more than a share of them have none.

        Args:
            max_failed: greatest share, 0 to 1.

        Raises:
            ValueError: naming the first failures.
        """
        total = len(self.num_rows) + len(self.failures)
        if not self.failures or (self.num_rows and len(self.failures) <= max_failed * total):
            return
        named = "; ".join(f"{video_id}: {reason}" for video_id, reason in list(self.failures.items())[:3])
        raise ValueError(
            f"{len(self.failures)} of {total} videos have no features, more than the accepted share of {max_failed:g} "
            f"({named}{'; ...' if len(self.failures) > 3 else ''}); the features of the others are kept"
        )


def extract_corpus_features(
    corpus: Any,
    extractor: SnippetFeatureExtractor,
    output_dir: str | os.PathLike[str],
    *,
    num_processes: int = 1,
    max_failed: float | None = 0.0,
    show_progress: bool = True,
) -> ExtractionReport:
    """Write the features of many videos, each to `<video_id>.npy`, and their settings to `features.json`.

    A file is there whole or not at all. A second call goes on where the first one stopped: videos that have their
    features are passed over, and other settings than those of the folder are refused.

    Args:
        corpus: a folder of videos, a data set (or all splits of one) with the columns `video_id` and `video`, or a
            dict of sources by video id.
        extractor: makes the features; other processes make their own from its settings.
        output_dir: folder for the files, made when missing.
        num_processes: processes that share the videos; more than one needs a main module that can be imported.
        max_failed: share of unreadable videos up to which they are only reported; `None` for any.
        show_progress: whether to show a progress bar.

    Returns:
        What became of each video.

    Raises:
        ValueError: when the folder holds features with other settings (names the field), a video id cannot be a file
            name, or too many videos are unreadable; the others have their features nevertheless.
        FileNotFoundError: when there are no videos.
        OSError: when a file cannot be written or a process dies; finished files are kept.
    """
    if num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {num_processes}")
    videos = resolve_videos(corpus)
    description = {"extractor": extractor.to_dict(), "weights_sha256": extractor.weights_digests()}
    folder = FeatureFolder(output_dir, description, extractor.feature_size)
    num_rows = {video_id: rows for video_id in videos if (rows := folder.num_rows(video_id)) is not None}
    num_found, failures = len(num_rows), {}
    jobs = [(video_id, source) for video_id, source in videos.items() if video_id not in num_rows]
    with (
        _extraction_results(jobs, extractor, folder, min(num_processes, max(1, len(jobs)))) as results,
        tqdm(
            results, "making features", len(videos), initial=num_found, unit="video", disable=not show_progress
        ) as progress,
    ):
        for video_id, result in progress:
            (failures if isinstance(result, str) else num_rows)[video_id] = result
            progress.set_postfix_str(f"{len(failures)} unreadable" if failures else "")
    report = ExtractionReport(
        {video_id: num_rows[video_id] for video_id in videos if video_id in num_rows}, num_found, failures
    )
    if max_failed is not None:
        report.refuse_failures(max_failed)
    return report


@contextmanager
def _extraction_results(
    jobs: Sequence[tuple[str, Any]], extractor: SnippetFeatureExtractor, folder: FeatureFolder, num_processes: int
) -> Iterator[Iterator[tuple[str, Result]]]:
    """Give an iterator over `(video_id, result)` as files get done; leaving the block stops what is under way.

    Args:
        jobs: `(video_id, source)` of each video.
        extractor: works itself for one process; several make their own from its settings.
        folder: where the files go.
        num_processes: one works in this process, more in so many others.

    Raises:
        OSError: from the iterator, when a file cannot be written or a process dies.
    """
    if num_processes == 1:
        yield ((video_id, _extract(extractor, folder, video_id, source)) for video_id, source in jobs)
        return
    # A forked process would inherit locks that torch's and OpenCV's threads may hold.
    pool = ProcessPoolExecutor(
        num_processes,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(
            extractor.to_dict(),
            {**extractor.origin, "batch_size": extractor.batch_size, "device": str(extractor.device)},
            folder,
            max(1, (os.cpu_count() or 1) // num_processes),
        ),
    )
    try:
        yield _completed(pool, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _completed(pool: ProcessPoolExecutor, jobs: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Result]]:
    try:
        futures = {pool.submit(_extract_in_worker, *job): job[0] for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "an extracting process ended without a word, perhaps for lack of memory; finished files are kept: run it "
            "again with fewer processes or a smaller batch size"
        ) from error


def _start_worker(
    settings: dict[str, Any], arguments: dict[str, Any], folder: FeatureFolder, num_threads: int
) -> None:
    global _worker
    torch.set_num_threads(num_threads)
    # Every process loads the same networks; their progress bars and load reports were shown once already.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    _worker = (SnippetFeatureExtractor.from_dict(settings, **arguments), folder)


def _extract_in_worker(video_id: str, source: Any) -> Result:
    return _extract(*_worker, video_id, source)


def _extract(extractor: SnippetFeatureExtractor, folder: FeatureFolder, video_id: str, source: Any) -> Result:
    """Make one file; a video that cannot be read is a result, a file that cannot be written is an error."""
    try:
        features = extractor(source)
    except (UnreadableVideoError, OSError) as error:
        return " ".join(str(error).split())
    folder.write(video_id, features)
    return len(features)
