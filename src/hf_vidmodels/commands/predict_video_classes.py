"""`hf-vidmodels predict` for video classification: the best classes of every video, and what the network looked at."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import AutoModelForVideoClassification, PreTrainedModel

from ..atomic_io import write_json
from ..data.features.feature_folders import find_videos
from ..data.video_writing import write_video
from ..evaluation.answer_forms import prepare_to_answer
from ..evaluation.class_scores import class_probabilities, is_multi_label
from ..evaluation.gta_figures import (
    MATRICES_STEM,
    draw_matrices_of,
    has_regions,
    has_temporal_matrices,
    region_shares_of_clip,
)
from ..evaluation.video_classification_evaluation import load_views_processor
from ..evaluation.video_views import sees_whole_videos
from ..modeling.modeling_stts import kept_regions
from ..output_files import output_file
from ..processing.base_video_processing import VideoViewsProcessor
from ..processing.media_suffixes import VIDEO_SUFFIXES
from ..text_tables import print_table
from ..visualization.figures import save_figure
from ..visualization.kept_tokens import draw_kept_tokens, shade_dropped
from ..visualization.memory_strip import draw_memory_strip
from ..visualization.temporal_mixing import draw_regions
from .opened_models import open_model
from .prediction_runs import Predicted, class_rows, predict_each, report_failures

DEFAULT_TOP_K = 5
CLASSES_IN_PICTURE = 3
# Of one forward pass, so that the 30 views of a published protocol fit into the memory.
VIEWS_AT_ONCE = 8
# Clips have few frames; a slow video lets one see each.
FRAMES_PER_SECOND = 4


def find_classified_videos(path: Path) -> dict[str, Path]:
    """Find the videos by id: a file, a folder of numbered frames, or a folder of such.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a file is no video by its suffix, or two videos have the same id.
    """
    if not path.is_file():
        return find_videos(path)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"{path} is no video (known: {', '.join(sorted(VIDEO_SUFFIXES))})")
    return {path.stem: path}


def classify_videos(arguments: argparse.Namespace, sources: Mapping[str, Path], accelerator: Accelerator) -> None:
    """Classify every video by the views of the model's test protocol; write and print what is found.

    OUTPUT_DIR gets predictions.json and for every video a film strip NAME.png; when the model selects tokens also a
    video NAME.mp4 of what it kept; when it mixes frames by learned matrices also NAME.regions.png, and once
    temporal_matrices.png; when the clips of a video share a memory also NAME.memory.png. Pictures show the middle one
    of the views, the last one all.

    Args:
        arguments: those of the predict command; `device` is this process's.
        sources: videos by id.
        accelerator: whose processes share the videos.

    Raises:
        ValueError: when the checkpoint cannot take videos, or at the end when some could not be read.
    """
    model = open_model(arguments.model, arguments.device, AutoModelForVideoClassification)
    processor = load_views_processor(arguments.model)
    prepare_to_answer(model, arguments.mixed_precision)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)

    def classify(name: str, path: Path) -> Predicted:
        found, picture = _classify(model, processor, path, arguments)
        draw = None if arguments.no_figures else partial(_draw, arguments.output_dir, name, found, **picture)
        return Predicted(found, class_rows(name, found), draw)

    def write(answers: dict[str, Any]) -> None:
        write_json(arguments.output_dir / "predictions.json", answers)

    found = predict_each(sources, classify, arguments, accelerator, "video", write)
    if accelerator.is_main_process:
        if has_temporal_matrices(model) and not arguments.no_figures:
            save_figure(draw_matrices_of(model), output_file(arguments.output_dir, MATRICES_STEM, ".png"))
        print_table(("video", "class", "score"), found.rows)
        report_failures(found.failures, len(sources), "videos could not be classified")
        what = "predictions.json" if arguments.no_figures else "predictions.json and the film strips"
        print(f"\nwrote {what} of {len(found.answers)} videos to {arguments.output_dir}")


def _classify(
    model: PreTrainedModel, processor: VideoViewsProcessor, path: Path, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the best classes of one video, and what `_draw` shows of it."""
    num_views = processor.evaluation_views if arguments.num_views is None else arguments.num_views
    num_crops = processor.evaluation_crops if arguments.num_crops is None else arguments.num_crops
    inputs = processor(path, num_views=num_views, num_crops=num_crops, return_metadata=True)
    views = inputs["pixel_values"]
    views = views[0] if views.dim() == 6 else views
    middle = len(views) // 2
    logits, shown = _answers(model, views, num_crops, middle)
    # Summed scores of several views grow with their number; shares are what people read.
    best = processor.post_process_video_classification(
        logits[None],
        arguments.top_k or DEFAULT_TOP_K,
        view_aggregation="mean",
        multi_label=is_multi_label(model.config),
    )[0]
    found = [
        {"label": model.config.id2label[int(label)], "score": float(score)}
        for label, score in zip(best["labels"], best["scores"], strict=True)
        if arguments.threshold is None or score >= arguments.threshold
    ]
    place = middle % VIEWS_AT_ONCE
    metadata = inputs["video_metadata"][0]
    of_all = np.atleast_2d(metadata.frames_indices)
    indices, mid_frame = of_all[middle // num_crops], of_all.shape[1] // 2
    strip = None
    if shown.get("plain_clip_logits") is not None:
        strip = _memory_strip(model, shown, int(best["labels"][0])) | {
            "frames": processor.to_pictures(views[num_crops // 2 :: num_crops, mid_frame]),
            "times": None if metadata.fps is None else of_all[:, mid_frame] / metadata.fps,
        }
    return found, {
        "strip": strip,
        "frames": processor.to_pictures(views[middle]),
        "kept": kept_regions(shown, model.config)[place] if shown.get("temporal_indices") is not None else None,
        "shares": region_shares_of_clip(model, shown.region_shares, place) if has_regions(model) else None,
        "times": None if metadata.fps is None else indices / metadata.fps,
    }


def _answers(
    model: PreTrainedModel, views: torch.Tensor, num_crops: int, middle: int
) -> tuple[torch.Tensor, Mapping[str, Any]]:
    """Give the logits (N, num_labels) of all views, and all that the model says of those around the middle one."""
    with torch.no_grad():
        if sees_whole_videos(model):
            return _answers_of_whole_video(model, views, num_crops)
        asked = {"output_regions": True} if has_regions(model) else {}
        logits: list[torch.Tensor] = []
        shown: Mapping[str, Any] = {}
        for number, part in enumerate(views.split(VIEWS_AT_ONCE)):
            output = model(part.to(model.device), **asked)
            logits.append(output.logits)
            if number == middle // VIEWS_AT_ONCE:
                shown = output
    return torch.cat(logits), shown


def _answers_of_whole_video(
    model: PreTrainedModel, views: torch.Tensor, num_crops: int
) -> tuple[torch.Tensor, Mapping[str, Any]]:
    """Give the logits of all views, and all that the model says of the clips of the middle crop."""
    outputs = [
        model(views[crop::num_crops].to(model.device)[None], output_plain_clip_logits=True)
        for crop in range(num_crops)
    ]
    logits = torch.cat([output.clip_logits for output in outputs]).transpose(0, 1).flatten(0, 1)
    return logits, outputs[num_crops // 2]


def _memory_strip(model: PreTrainedModel, shown: Mapping[str, Any], best: int) -> dict[str, Any]:
    """Give what `draw_memory_strip` shows of the best class of a video whose clips share a memory."""
    scores, plain_scores = (
        class_probabilities(shown[name][0], model.config)[:, best].cpu().numpy()
        for name in ("clip_logits", "plain_clip_logits")
    )
    gates = shown.get("gates")
    return {
        "scores": scores,
        "plain_scores": plain_scores,
        "gates": None if gates is None else gates[0].float().mean(-1).cpu().numpy(),
        "label": model.config.id2label[best],
    }


def _draw(
    folder: Path,
    name: str,
    found: list[dict[str, Any]],
    frames: np.ndarray,
    kept: list[dict[str, Any]] | None,
    shares: dict[str, np.ndarray] | None,
    times: np.ndarray | None,
    strip: dict[str, Any] | None,
) -> None:
    answers = [(answer["label"], answer["score"]) for answer in found[:CLASSES_IN_PICTURE]]
    save_figure(draw_kept_tokens(frames, kept, answers, title=name, times=times), output_file(folder, name, ".png"))
    if kept is not None:
        write_video(output_file(folder, name, ".mp4"), shade_dropped(frames, kept, outlines=True), FRAMES_PER_SECOND)
    if shares is not None:
        save_figure(
            draw_regions(frames, shares, title=name, times=times), output_file(folder, f"{name}.regions", ".png")
        )
    if strip is not None:
        save_figure(draw_memory_strip(**strip, title=name), output_file(folder, f"{name}.memory", ".png"))
