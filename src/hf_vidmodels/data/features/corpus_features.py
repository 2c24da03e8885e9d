"""Features for a corpus that has only videos: made once, kept in a cache, added as a column."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus_extraction import extract_corpus_features
from .feature_extraction import SnippetFeatureExtractor
from .feature_folders import PLACE_FIELDS

if TYPE_CHECKING:
    from datasets import DatasetDict

FOLDER = "features"
DIGITS_OF_KEY = 10


def add_features(
    corpus: "DatasetDict",
    extractor: SnippetFeatureExtractor,
    cache_dir: str | os.PathLike[str],
    *,
    num_processes: int = 1,
    show_progress: bool = True,
) -> "DatasetDict":
    """Add the column `features` (paths of `.npy` files) to every split of a corpus with `video_id` and `video`.

    The files lie in `cache_dir/features/<key>`, where the key follows from the weights of the extractor's networks,
    its settings (but for where the networks lie) and the places of the videos: what was made before is used again,
    what is missing is made.

    Args:
        corpus: all splits.
        extractor: makes the features.
        cache_dir: folder of the cache.
        num_processes: processes that share the videos.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError, OSError: see `extract_corpus_features`.
    """
    places = [str(_place(video)) for split in corpus.values() for video in split["video"]]
    identity = {
        "settings": _without_places(extractor.to_dict()),
        "weights": extractor.weights_digests(),
        "videos": places,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:DIGITS_OF_KEY]
    folder = Path(cache_dir) / FOLDER / key
    extract_corpus_features(corpus, extractor, folder, num_processes=num_processes, show_progress=show_progress)
    for name, split in corpus.items():
        files = [str(folder / f"{video_id}.npy") for video_id in split["video_id"]]
        corpus[name] = split.add_column("features", files)
    return corpus


def _place(video: Any) -> Any:
    return video["path"] if isinstance(video, dict) else video


def _without_places(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {name: _without_places(value) for name, value in settings.items() if name not in PLACE_FIELDS}
