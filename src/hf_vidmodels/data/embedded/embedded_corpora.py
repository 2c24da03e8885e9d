"""The embedded corpora: small videos and pictures with exact annotations of every task, made on first use.

Real handwritten digits move over textured backgrounds. `make_embedded_corpus` writes real mp4 and png files with one
`metadata.jsonl` a split, the layout that `datasets` reads as a `videofolder` or `imagefolder`;
`load_embedded_corpus` gives them with the task's columns. The same seed gives the same scenes and the same rendered
pixels everywhere; only the video encoder may differ between builds of FFmpeg.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...atomic_io import atomic_write
from ..contracts import features_for
from ..video_writing import write_video
from .embedded_cache import default_cache_dir, ensure_folder, read_manifest
from .embedded_digits import load_handwriting
from .embedded_motions import ACTIONS, WAYS
from .embedded_orders import MOTIONS, MotionParameters, annotate_motion, motion_scene
from .embedded_pictures import (
    BOXES,
    DIGITS,
    IMAGES,
    MANY_IMAGES,
    OBJECTS,
    annotate_boxes,
    annotate_image,
    annotate_object,
    picture_scene,
)
from .embedded_rendering import iterate_rendered
from .embedded_scenes import FPS, Scene
from .embedded_stories import STORIES, StoryParameters, annotate_story, story_scene
from .embedded_styles import STYLES, StyleParameters, annotate_style, style_scene
from .embedded_tubes import TUBE_FPS, TubeParameters, annotate_tubes, tube_scene
from .embedded_untrimmed import (
    COMMON_SCENE,
    SMALL,
    UNTRIMMED_FPS,
    UntrimmedParameters,
    annotate_untrimmed,
    untrimmed_scene,
)
from .embedded_videos import ClipParameters, annotate_clip, clip_scene

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features

METADATA = "metadata.jsonl"
# Raised whenever the same seed gives other scenes, pixels or annotations, so that older caches are not taken.
FORMAT = 1
_MOST_THREADS = 4
_VIDEO_OPTIONS = {"preset": "superfast", "crf": "26", "g": "50", "threads": "1"}


@dataclass(frozen=True)
class EmbeddedCorpus:
    """How one corpus is made.

    Attributes:
        task: its task, a key of `tasks.TASKS`.
        media: column of the media file, and its suffix.
        columns: the other columns of the task, in order.
        classes: names of its classes.
        parameters: how many examples, how large and how hard; every such class has `splits`.
        compose: (random generator, split, parameters) -> scene.
        annotate: (scene, name of the example, its number, parameters) -> rows of `columns`, classes as names.
        fps: frames per second of its videos.
    """

    task: str
    media: tuple[str, str]
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    parameters: Any
    compose: Callable[[np.random.Generator, str, Any], Scene]
    annotate: Callable[[Scene, str, int, Any], list[dict[str, Any]]]
    fps: int = FPS


def _untrimmed(parameters: UntrimmedParameters) -> EmbeddedCorpus:
    return EmbeddedCorpus(
        task="temporal-action-localization",
        media=("video", ".mp4"),
        columns=("video_id", "duration", "fps", "labels", "segments", "subset"),
        classes=WAYS,
        parameters=parameters,
        compose=untrimmed_scene,
        annotate=annotate_untrimmed,
        fps=UNTRIMMED_FPS,
    )


EMBEDDED_CORPORA = {
    "images": EmbeddedCorpus(
        task="image-classification",
        media=("image", ".png"),
        columns=("label",),
        classes=DIGITS,
        parameters=IMAGES,
        compose=picture_scene,
        annotate=annotate_image,
    ),
    "many_images": EmbeddedCorpus(
        task="image-classification",
        media=("image", ".png"),
        columns=("label",),
        classes=DIGITS,
        parameters=MANY_IMAGES,
        compose=picture_scene,
        annotate=annotate_image,
    ),
    "clips": EmbeddedCorpus(
        task="video-classification",
        media=("video", ".mp4"),
        columns=("label",),
        classes=ACTIONS,
        parameters=ClipParameters(),
        compose=clip_scene,
        annotate=annotate_clip,
    ),
    "motions": EmbeddedCorpus(
        task="video-classification",
        media=("video", ".mp4"),
        columns=("label",),
        classes=MOTIONS,
        parameters=MotionParameters(),
        compose=motion_scene,
        annotate=annotate_motion,
    ),
    "stories": EmbeddedCorpus(
        task="video-classification",
        media=("video", ".mp4"),
        columns=("label",),
        classes=STORIES,
        parameters=StoryParameters(),
        compose=story_scene,
        annotate=annotate_story,
    ),
    "boxes": EmbeddedCorpus(
        task="mask-labeling",
        media=("image", ".png"),
        columns=("image_id", "objects"),
        classes=DIGITS,
        parameters=BOXES,
        compose=picture_scene,
        annotate=annotate_boxes,
    ),
    "untrimmed": _untrimmed(UntrimmedParameters()),
    "untrimmed-small": _untrimmed(SMALL),
    "untrimmed-common-scene": _untrimmed(COMMON_SCENE),
    "tubes": EmbeddedCorpus(
        task="action-detection",
        media=("video", ".mp4"),
        columns=("video_id", "timestamp", "boxes", "labels", "keyframe", "actor_ids", "starts", "ends"),
        classes=ACTIONS,
        parameters=TubeParameters(),
        compose=tube_scene,
        annotate=annotate_tubes,
        fps=TUBE_FPS,
    ),
    "objects": EmbeddedCorpus(
        task="object-localization",
        media=("image", ".png"),
        columns=("label", "bbox"),
        classes=DIGITS,
        parameters=OBJECTS,
        compose=picture_scene,
        annotate=annotate_object,
    ),
    "styles": EmbeddedCorpus(
        task="image-classification",
        media=("image", ".png"),
        columns=("label",),
        classes=STYLES,
        parameters=StyleParameters(),
        compose=style_scene,
        annotate=annotate_style,
    ),
}


def make_embedded_corpus(
    name: str, seed: int = 0, cache_dir: str | os.PathLike[str] | None = None, parameters: Any = None
) -> Path:
    """Make an embedded corpus unless the cache has it, complete and undamaged.

    Args:
        name: a key of `EMBEDDED_CORPORA`.
        seed: other seeds give other corpora of the same kind.
        cache_dir: where corpora are kept; `$HF_VIDMODELS_CACHE` or `~/.cache/hf_vidmodels` when `None`.
        parameters: instance of the corpus's parameter class, for other numbers, sizes or difficulty.

    Returns:
        the folder: `<split>/metadata.jsonl` beside the split's media files, and `corpus.json`, which names the classes
        and every file with its checksum.

    Raises:
        ValueError: there is no such corpus, or `parameters` are of another corpus.
        OSError: it cannot be written.
    """
    corpus = _corpus(name)
    parameters = corpus.parameters if parameters is None else parameters
    if not isinstance(parameters, type(corpus.parameters)):
        raise ValueError(
            f"parameters of embedded/{name} must be {type(corpus.parameters).__name__}, "
            f"got {type(parameters).__name__}"
        )
    description = {"format": FORMAT, "name": name, "seed": seed, "parameters": asdict(parameters)}
    fingerprint = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:10]
    cache = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()

    def make(folder: Path) -> dict[str, Any]:
        for split, count in parameters.splits:
            _write_split(folder / split, corpus, [_generator(seed, name, split, i) for i in range(count)], parameters)
        return {**description, "classes": list(corpus.classes)}

    return ensure_folder((cache / "embedded" / f"{name}-seed{seed}-{fingerprint}").absolute(), make)


def load_embedded_corpus(
    name: str,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    split: str | None = None,
    parameters: Any = None,
) -> "DatasetDict | Dataset":
    """Load an embedded corpus with the columns of its task, making it first where the cache does not have it.

    Args:
        name: as for `make_embedded_corpus`, like `seed`, `cache_dir` and `parameters`.
        seed: which corpus of this kind.
        cache_dir: where corpora are kept.
        split: one split only.
        parameters: other numbers, sizes or difficulty.

    Returns:
        all splits, or the one asked for.

    Raises:
        ValueError: there is no such corpus or split.
        OSError: it cannot be written.
    """
    from datasets import Dataset, DatasetDict

    corpus = _corpus(name)
    folder = make_embedded_corpus(name, seed, cache_dir, parameters)
    features = embedded_features(name)
    splits = DatasetDict()
    for split_name, _ in read_manifest(folder)["parameters"]["splits"]:
        lines = (folder / split_name / METADATA).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        rows = [{corpus.media[0]: str(folder / split_name / row.pop("file_name")), **row} for row in rows]
        splits[split_name] = Dataset.from_list(rows, features=features)
    if split is None:
        return splits
    if split not in splits:
        raise ValueError(f"embedded/{name} has no split {split!r}; its splits are {', '.join(splits)}")
    return splits[split]


def embedded_features(name: str) -> "Features":
    """The columns of an embedded corpus and their types."""
    corpus = _corpus(name)
    object_fields = ("segmentation",) if corpus.task == "mask-labeling" else ()
    return features_for(corpus.task, (corpus.media[0], *corpus.columns), corpus.classes, object_fields)


def compose_embedded_scene(name: str, split: str, index: int, seed: int = 0, parameters: Any = None) -> Scene:
    """The scene that example `index` of a split is made from, for drawings and tests."""
    corpus = _corpus(name)
    return corpus.compose(_generator(seed, name, split, index), split, parameters or corpus.parameters)


def _write_split(folder: Path, corpus: EmbeddedCorpus, generators: list[np.random.Generator], parameters: Any) -> None:
    from tqdm import tqdm

    def write(number: int) -> list[dict[str, Any]]:
        scene = corpus.compose(generators[number], folder.name, parameters)
        stem = f"{folder.name}_{number:05d}"
        path = folder / f"{stem}{corpus.media[1]}"
        _write_media(path, scene, corpus.fps)
        return [{"file_name": path.name, **row} for row in corpus.annotate(scene, stem, number, parameters)]

    folder.mkdir()
    load_handwriting()
    # Drawing and encoding spend their time outside Python's lock.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        written = pool.map(write, range(len(generators)))
        progress = tqdm(written, f"making {folder.name} split", len(generators), disable=None, leave=False)
        rows = [row for rows in progress for row in rows]
    with atomic_write(folder / METADATA, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_media(path: Path, scene: Scene, fps: int) -> None:
    frames = (frame for piece in iterate_rendered(scene) for frame in piece)
    if path.suffix == ".png":
        from PIL import Image

        Image.fromarray(next(frames)).save(path)
    else:
        write_video(path, frames, fps, options=_VIDEO_OPTIONS)


def _generator(seed: int, name: str, split: str, index: int) -> np.random.Generator:
    """Its own stream of random numbers for every example, so that more examples never change the others."""
    key = zlib.crc32(f"{name}/{split}".encode())
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, key, index])))


def _corpus(name: str) -> EmbeddedCorpus:
    if name not in EMBEDDED_CORPORA:
        raise ValueError(f"there is no embedded corpus {name!r}; there are {', '.join(EMBEDDED_CORPORA)}")
    return EMBEDDED_CORPORA[name]
