"""Tiny networks, videos and a checkpoint for tests of feature extraction and of what builds on it."""

from pathlib import Path
from typing import Any

import numpy as np

from hf_vidmodels import AsmLocConfig, AsmLocForTemporalActionLocalization, AsmLocProcessor
from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor
from hf_vidmodels.data.video_writing import write_video

RESNET = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
VIDEOMAE = {
    "model_type": "videomae",
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
PICTURES = {"size": 24, "crop_size": 16, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def tiny_streams(*streams: str) -> dict[str, dict[str, Any]]:
    """Settings of random image networks of width 8 for the streams."""
    chosen = {
        "rgb": {"model_config": RESNET, "random_init_seed": 0, "num_frames": 2, **PICTURES},
        "flow": {"model_config": RESNET, "random_init_seed": 1, "num_frames": 2, "size": 24, "crop_size": 16},
    }
    return {stream: chosen[stream] for stream in streams}


def tiny_extractor(*streams: str, **arguments: Any) -> SnippetFeatureExtractor:
    """An extractor for snippets of 8 frames at 25 frames per second."""
    timing = {"frames_per_snippet": 8, "snippet_stride": 8}
    return SnippetFeatureExtractor(tiny_streams(*streams or ("rgb",)), **(timing | arguments))


def moving_frames(num_frames: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """A smooth texture that moves two pixels right and one down a frame, uint8 (T, size, size, 3)."""
    texture = np.random.default_rng(seed).random((size, size))
    for _ in range(6):
        texture = sum(np.roll(texture, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    grey = (255 * (texture - texture.min()) / np.ptp(texture)).astype(np.uint8)
    frames = np.stack([np.roll(grey, (index, 2 * index), (0, 1)) for index in range(num_frames)])
    return np.repeat(frames[..., None], 3, axis=-1)


def write_moving_video(path: Path, num_frames: int = 24, seed: int = 0) -> Path:
    """A real video file of `moving_frames`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, moving_frames(num_frames, seed=seed), 25)
    return path


def save_tiny_checkpoint(folder: Path, with_extractor: bool = True) -> Path:
    """An untrained ASM-Loc cascade for the features of `tiny_extractor("rgb", "flow")`."""
    config = AsmLocConfig(
        hidden_size=16,
        num_attention_heads=2,
        num_refinement_steps=1,
        num_snippets=16,
        frames_per_snippet=8,
        class_threshold=0.0,
        id2label={0: "swing", 1: "spin", 2: "bounce"},
    )
    if with_extractor:
        config.feature_extractor = tiny_extractor("rgb", "flow").save(folder)
    AsmLocForTemporalActionLocalization(config).save_pretrained(folder)
    AsmLocProcessor.from_config(config).save_pretrained(folder)
    return folder
