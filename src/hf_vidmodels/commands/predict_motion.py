"""`hf-vidmodels predict` for models that learned motion without labels: how far everything moves, and what the next
frame makes of each.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import AutoModelForPreTraining, PreTrainedModel

from ..atomic_io import write_json
from ..data.video_writing import write_video
from ..evaluation.motion_evaluation import reconstruct_clip
from ..evaluation.video_classification_evaluation import load_views_processor
from ..optional_packages import require
from ..output_files import output_file
from ..processing.base_video_processing import VideoViewsProcessor
from ..text_tables import print_table
from ..visualization.figures import save_figure
from ..visualization.motion_fields import draw_motion, motion_frames
from .opened_models import open_model
from .prediction_runs import TableRows, predict_each, report_failures

# Clips have few frames; a slow video lets one see each.
FRAMES_PER_SECOND = 4


def draw_motions(arguments: argparse.Namespace, sources: Mapping[str, Path], accelerator: Accelerator) -> None:
    """Draw the displacements and the reconstruction of a middle clip of every video.

    OUTPUT_DIR gets predictions.json, with the mean and the greatest displacement in pixels and the error of the
    reconstruction, and for every video NAME.motion.png and NAME.motion.mp4: frames, displacements by the colour wheel,
    and what the next frame makes of each.

    Args:
        arguments: those of the predict command; `device` is this process's.
        sources: videos by id.
        accelerator: whose processes share the videos.

    Raises:
        ValueError: when the checkpoint cannot take videos, or at the end when some could not be read.
    """
    require("matplotlib", "drawing predictions")
    model = open_model(arguments.model, arguments.device, AutoModelForPreTraining)
    processor = load_views_processor(arguments.model)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)

    def draw(name: str, path: Path) -> tuple[dict[str, float], TableRows]:
        found = _draw(model, processor, name, path, arguments.output_dir)
        return found, [(name, *(f"{value:.3f}" for value in found.values()))]

    def write(answers: dict[str, Any]) -> None:
        write_json(arguments.output_dir / "predictions.json", answers)

    found = predict_each(sources, draw, arguments, accelerator, "video", write)
    if accelerator.is_main_process:
        print_table(("video", "mean displacement", "greatest displacement", "error"), found.rows)
        report_failures(found.failures, len(sources), "videos could not be read")
        print(f"\nwrote predictions.json and the motion of {len(found.answers)} videos to {arguments.output_dir}")


def _draw(
    model: PreTrainedModel, processor: VideoViewsProcessor, name: str, path: Path, output_dir: Path
) -> dict[str, float]:
    """Draw one video and give what is told of it."""
    inputs = processor(path, num_views=1, num_crops=1, return_metadata=True)
    found = reconstruct_clip(model, inputs["pixel_values"].flatten(0, -5)[0])
    metadata = inputs["video_metadata"][0]
    times = None
    if metadata.fps is not None and len(found["frames"]) + 1 == np.size(metadata.frames_indices):
        times = np.ravel(metadata.frames_indices)[:-1] / metadata.fps
    save_figure(draw_motion(**found, title=name, times=times), output_file(output_dir, name, ".motion.png"))
    write_video(output_file(output_dir, name, ".motion.mp4"), motion_frames(**found), FRAMES_PER_SECOND)
    lengths = np.linalg.norm(found["displacement"], axis=1)
    known = np.broadcast_to(found["mask"] > 0, found["frames"].shape)
    error = np.abs(found["frames"] - found["reconstructed"])[known]
    return {
        "mean_displacement": float(lengths.mean()),
        "greatest_displacement": float(lengths.max()),
        "reconstruction_error": float(error.mean()) if error.size else 0.0,
    }
