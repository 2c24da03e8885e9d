"""`hf-vidmodels predict` for models that learned motion without labels: how far everything moves, and what the next
frame makes of each.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import AutoModelForPreTraining, PreTrainedModel

from ..atomic_io import write_json
from ..data.video_writing import write_video
from ..evaluation.answer_forms import prepare_to_answer
from ..evaluation.motion_evaluation import reconstruct_clip
from ..evaluation.video_classification_evaluation import load_views_processor
from ..output_files import output_file
from ..processing.base_video_processing import VideoViewsProcessor
from ..text_tables import print_table
from ..visualization.figures import save_figure
from ..visualization.motion_fields import draw_motion, motion_frames
from .opened_models import open_model
from .prediction_runs import Predicted, predict_each, report_failures

# Clips have few frames; a slow video lets one see each.
FRAMES_PER_SECOND = 4


def find_motions(arguments: argparse.Namespace, sources: Mapping[str, Path], accelerator: Accelerator) -> None:
    """Find the displacements in a middle clip of every video and reconstruct it by them; write and print how well.

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
    model = open_model(arguments.model, arguments.device, AutoModelForPreTraining)
    processor = load_views_processor(arguments.model)
    prepare_to_answer(model, arguments.mixed_precision)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)

    def find(name: str, path: Path) -> Predicted:
        found, times = _reconstruct(model, processor, path)
        measured = _measure(found)
        draw = None if arguments.no_figures else partial(_draw, arguments.output_dir, name, found, times)
        return Predicted(measured, [(name, *(f"{value:.3f}" for value in measured.values()))], draw)

    def write(answers: dict[str, Any]) -> None:
        write_json(arguments.output_dir / "predictions.json", answers)

    found = predict_each(sources, find, arguments, accelerator, "video", write)
    if accelerator.is_main_process:
        print_table(("video", "mean displacement", "greatest displacement", "error"), found.rows)
        report_failures(found.failures, len(sources), "videos could not be read")
        what = "predictions.json" if arguments.no_figures else "predictions.json and the motion"
        print(f"\nwrote {what} of {len(found.answers)} videos to {arguments.output_dir}")


def _reconstruct(
    model: PreTrainedModel, processor: VideoViewsProcessor, path: Path
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Give the parts of the reconstruction of a middle clip, and the seconds of its frames where they are known."""
    inputs = processor(path, num_views=1, num_crops=1, return_metadata=True)
    found = reconstruct_clip(model, inputs["pixel_values"].flatten(0, -5)[0])
    metadata = inputs["video_metadata"][0]
    times = None
    if metadata.fps is not None and len(found["frames"]) + 1 == np.size(metadata.frames_indices):
        times = np.ravel(metadata.frames_indices)[:-1] / metadata.fps
    return found, times


def _draw(folder: Path, name: str, found: Mapping[str, np.ndarray], times: np.ndarray | None) -> None:
    save_figure(draw_motion(**found, title=name, times=times), output_file(folder, name, ".motion.png"))
    write_video(output_file(folder, name, ".motion.mp4"), motion_frames(**found), FRAMES_PER_SECOND)


def _measure(found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Give what is told of one video."""
    lengths = np.linalg.norm(found["displacement"], axis=1)
    known = np.broadcast_to(found["mask"] > 0, found["frames"].shape)
    error = np.abs(found["frames"] - found["reconstructed"])[known]
    return {
        "mean_displacement": float(lengths.mean()),
        "greatest_displacement": float(lengths.max()),
        "reconstruction_error": float(error.mean()) if error.size else 0.0,
    }
