"""`hf-vidmodels predict` for temporal action localisation: predictions.json, a timeline and a page for every video."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import PreTrainedConfig

from ..data.features.feature_extraction import SnippetFeatureExtractor
from ..data.features.feature_folders import find_videos
from ..evaluation.answer_forms import prepare_to_answer
from ..metrics.activitynet_files import write_activitynet_results
from ..output_files import output_file
from ..pipelines.temporal_action_localization import TemporalActionLocalizationPipeline, best_segments, end_inside
from ..processing.decoding import open_video, probe_video, read_frames
from ..processing.feature_reading import FEATURE_SUFFIXES
from ..processing.media_suffixes import VIDEO_SUFFIXES
from ..text_tables import print_table
from ..visualization.figures import save_figure
from ..visualization.timeline_page import write_timeline_page
from ..visualization.timelines import draw_timeline
from .opened_models import open_model
from .prediction_runs import Predicted, TableRows, predict_each, report_failures

SEGMENTS_IN_TABLE = 3
FRAMES_IN_PICTURE = 12


@dataclass(frozen=True)
class Source:
    """What there is of one video: the video, its features, or both."""

    video: Path | None = None
    features: Path | None = None


def find_sources(path: Path) -> dict[str, Source]:
    """Find the inputs by id, the file name without suffix.

    Raises:
        FileNotFoundError: when there is nothing to predict on.
        ValueError: when two inputs have the same id, or a file is neither video nor features.
    """
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix not in FEATURE_SUFFIXES and suffix not in VIDEO_SUFFIXES:
            known = ", ".join(sorted(VIDEO_SUFFIXES) + list(FEATURE_SUFFIXES))
            raise ValueError(f"{path} is neither a video nor a feature file (known: {known})")
        return {path.stem: Source(features=path) if suffix in FEATURE_SUFFIXES else Source(video=path)}
    if not path.is_dir():
        raise FileNotFoundError(f"there is no input {path}")
    features: dict[str, Path] = {}
    for file in sorted(file for file in path.rglob("*") if file.suffix.lower() in FEATURE_SUFFIXES):
        if file.stem in features:
            raise ValueError(
                f"{features[file.stem]} and {file} would both be called {file.stem!r}; rename one of them"
            )
        features[file.stem] = file
    try:
        videos = find_videos(path)
    except FileNotFoundError:
        if not features:
            raise
        videos = {}
    return {name: Source(videos.get(name), features.get(name)) for name in sorted(videos.keys() | features.keys())}


def localize_actions(arguments: argparse.Namespace, sources: Mapping[str, Source], accelerator: Accelerator) -> None:
    """Localise actions in time in every input, write and print what is found.

    Args:
        arguments: those of the predict command; `device` is this process's.
        sources: inputs by id.
        accelerator: whose processes share the inputs.

    Raises:
        ValueError: when the checkpoint cannot take the inputs, or at the end when some could not be read.
    """
    model = open_model(arguments.model)
    model.answering_step(arguments.step)
    extractor = None
    if any(source.features is None for source in sources.values()):
        extractor = SnippetFeatureExtractor.from_checkpoint(
            model, device=arguments.device, mixed_precision=arguments.mixed_precision
        )
        accelerator.print(f"features by {', '.join(extractor.streams)} networks of the checkpoint")
    locate = TemporalActionLocalizationPipeline(model, snippet_extractor=extractor, device=arguments.device)
    prepare_to_answer(locate.model, arguments.mixed_precision)
    id2label = model.config.id2label
    truth = {} if arguments.truth is None else true_segments(arguments.truth, id2label)

    def localize(video_id: str, source: Source) -> Predicted:
        features = locate.preprocess(source.features or source.video)
        prediction = locate.forward([features], return_curves=True, step=arguments.step)[0]
        duration = duration_of(source, len(features["features"]), model.config)
        prediction = end_inside(prediction, duration)
        best = best_segments(prediction, arguments.top_k, arguments.threshold)
        content = {
            "duration": duration,
            "reference": truth.get(video_id),
            "label_names": id2label,
            **{name: prediction[name] for name in ("attention", "class_scores", "curve_times")},
            "title": video_id,
        }
        drawing = None if arguments.no_figures else partial(draw, arguments, video_id, source, best, content)
        return Predicted(best, table_rows(video_id, duration, best, id2label), drawing)

    def write(answers: dict[str, Any]) -> None:
        write_activitynet_results(arguments.output_dir / "predictions.json", answers, id2label)

    found = predict_each(sources, localize, arguments, accelerator, "video", write)
    if accelerator.is_main_process:
        print_table(("video", "duration", "action", "score", "start", "end"), found.rows)
        report_failures(found.failures, len(sources), "inputs could not be predicted on")
        what = "predictions.json" if arguments.no_figures else "predictions.json and the timelines"
        print(f"\nwrote {what} of {len(found.answers)} videos to {arguments.output_dir}")


def true_segments(corpus: str, label_names: Mapping[int, str]) -> dict[str, dict[str, np.ndarray]]:
    """Read the true segments of all videos of a corpus: `segments` (M, 2) in seconds and `labels` (M,), by video id.

    Raises:
        ValueError: when the corpus has no segments, or classes that the model does not know.
    """
    from ..data.corpora import load_corpus

    truth = {}
    for split, videos in load_corpus(corpus, task="temporal-action-localization").items():
        if "segments" not in videos.column_names:
            raise ValueError(f"{corpus} has no true segments in its split {split!r} to draw; leave out --truth")
        names = videos.features["labels"].feature.names
        if unknown := [name for name in names if name not in label_names.values()]:
            raise ValueError(f"{corpus} has the class {unknown[0]!r}, which the model does not know; see its id2label")
        ids = {name: label for label, name in label_names.items()}
        for video_id, segments in zip(videos["video_id"], videos["segments"], strict=True):
            times = [(one["start"], one["end"]) for one in segments or ()]
            labels = [ids[names[one["label"]]] for one in segments or ()]
            truth[video_id] = {"segments": np.reshape(times, (-1, 2)), "labels": np.array(labels, dtype=np.int64)}
    return truth


def duration_of(source: Source, num_features: int, config: PreTrainedConfig) -> float:
    """Give the seconds of a video; those of its features where it has no timing."""
    video = None if source.video is None else probe_video(source.video)
    if video is None or not np.isfinite(video.duration):
        return num_features * config.frames_per_snippet / config.frames_per_second
    return video.duration


def draw(
    arguments: argparse.Namespace,
    video_id: str,
    source: Source,
    best: Mapping[str, np.ndarray],
    content: Mapping[str, Any],
) -> None:
    """Write the timeline of one video, and its page when there is a file to play."""
    figure = draw_timeline(best, video_frames=shown_frames(source), **content)
    save_figure(figure, output_file(arguments.output_dir, video_id, ".png"))
    if source.video is not None and source.video.is_file():
        page = output_file(arguments.output_dir, video_id, ".html")
        write_timeline_page(page, source.video, best, embed_video=arguments.embed_video, **content)


def shown_frames(source: Source) -> np.ndarray | None:
    """Give frames from all over a video, or None where there are features alone."""
    if source.video is None:
        return None
    video = open_video(source.video)
    return read_frames(
        video, ((np.arange(FRAMES_IN_PICTURE) + 0.5) * video.num_frames / FRAMES_IN_PICTURE).astype(int)
    )


def table_rows(
    video_id: str, duration: float, best: Mapping[str, np.ndarray], label_names: Mapping[int, str]
) -> TableRows:
    """Give the lines of the printed table for one video: its best segments, and how many more there are."""
    head = (video_id, f"{duration:.1f} s")
    if not len(best["scores"]):
        return [(*head, "nothing found", "", "", "")]
    rows = []
    for index in range(min(SEGMENTS_IN_TABLE, len(best["scores"]))):
        start, end = best["segments"][index]
        name = label_names[int(best["labels"][index])]
        rows.append(
            (*(head if index == 0 else ("", "")), name, f"{best['scores'][index]:.3f}", f"{start:.2f}", f"{end:.2f}")
        )
    more = len(best["scores"]) - len(rows)
    return rows + ([("", "", f"... {more} more", "", "", "")] if more else [])
