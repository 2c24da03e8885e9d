"""Feature extraction in one or several processes: who makes which file, and what is reported back."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import torch

from ...processing.video_metadata import UnreadableVideoError
from .feature_folders import FeatureFolder

if TYPE_CHECKING:
    from .feature_extraction import SnippetFeatureExtractor

# Number of feature rows, or why there are none.
Result = int | str

_worker: "tuple[SnippetFeatureExtractor, FeatureFolder]"


@contextmanager
def extraction_results(
    jobs: Sequence[tuple[str, Any]], extractor: "SnippetFeatureExtractor", folder: FeatureFolder, num_processes: int
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
    from transformers.utils import logging

    from .feature_extraction import SnippetFeatureExtractor

    global _worker
    torch.set_num_threads(num_threads)
    # Every process loads the same networks; their progress bars and load reports were shown once already.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    _worker = (SnippetFeatureExtractor.from_dict(settings, **arguments), folder)


def _extract_in_worker(video_id: str, source: Any) -> Result:
    return _extract(*_worker, video_id, source)


def _extract(extractor: "SnippetFeatureExtractor", folder: FeatureFolder, video_id: str, source: Any) -> Result:
    """Make one file; a video that cannot be read is a result, a file that cannot be written is an error."""
    try:
        features = extractor(source)
    except (UnreadableVideoError, OSError) as error:
        return " ".join(str(error).split())
    folder.write(video_id, features)
    return len(features)
