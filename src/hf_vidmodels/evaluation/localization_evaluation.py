"""Temporal action localisation measured and drawn: for training runs and the evaluate command."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedConfig, PreTrainedModel

from ..data.embedded.embedded_cache import default_cache_dir
from ..data.features.corpus_features import add_features
from ..data.features.feature_extraction import SnippetFeatureExtractor
from ..data.features.video_table import VideoTable, warn_of_other_rate
from ..metrics.activitynet_files import results_to_json
from ..metrics.temporal_detection import TemporalDetectionResult, temporal_detection_map
from ..visualization.timeline_content import CLEAR_SHARE
from .answer_forms import prepare_to_answer
from .evaluation import Evaluation, rows_of_process
from .scored_corpora import load_scored_corpus, refuse_other_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TASK = "temporal-action-localization"
METRIC_OF_STEP = "average_mAP_step"
NUM_DRAWN_VIDEOS = 4

# By video id what `localize` gives.
Predictions = Mapping[str, Mapping[str, np.ndarray]]


def evaluate_on_corpus(model: PreTrainedModel, arguments: argparse.Namespace, accelerator: Accelerator) -> Evaluation:
    """Localise actions in the videos of a split and score them; a sheet of timelines shows the answering step.

    A corpus of videos without features is scored when the checkpoint carries its feature extractor.

    Args:
        model: a model that can `localize`, in evaluation mode, on its device.
        arguments: those of the evaluate command.
        accelerator: whose processes share the videos.

    Raises:
        ValueError: when the split is missing, has other classes, or has no features and the model makes none.
    """
    config, split = model.config, arguments.split
    corpus = load_scored_corpus(arguments, TASK, accelerator)
    refuse_other_classes(config.id2label, corpus[split].features["labels"])
    if "features" not in corpus[split].column_names:
        extractor = SnippetFeatureExtractor.from_checkpoint(model, device=model.device)
        with accelerator.main_process_first():
            corpus = add_features(
                corpus,
                extractor,
                default_cache_dir(),
                num_processes=arguments.feature_processes or 1,
                show_progress=accelerator.is_main_process,
            )
    prepare_to_answer(model, arguments.mixed_precision)
    videos = VideoTable.from_corpus(corpus[split])
    warn_of_other_rate([videos], config.frames_per_second, config.frames_per_snippet)
    return evaluate_localization(model, videos, split=split, accelerator=accelerator, batch_size=arguments.batch_size)


def evaluate_localization(
    model: PreTrainedModel, videos: VideoTable, *, split: str, accelerator: Accelerator, batch_size: int
) -> Evaluation:
    """Run the whole cascade over the videos as a user would, and score and draw what it finds.

    Args:
        model: a model that can `localize`, in evaluation mode, on its device; the whole model on every process.
        videos: with their annotations.
        split: name of the split, for the report.
        accelerator: whose processes share the videos.
        batch_size: videos in one forward pass.

    Returns:
        As `score_localization`, with the figure `timelines` of the answering step.
    """
    mine = rows_of_process(accelerator, len(videos))
    per_step = model.localize(
        [videos.load(index, model.config.hidden_size) for index in mine],
        return_all_steps=True,
        return_curves=True,
        batch_size=batch_size,
    )
    found = [
        (videos.video_ids[index], [predictions[place] for predictions in per_step]) for place, index in enumerate(mine)
    ]
    by_video = dict(gather_object(found))
    num_steps = len(by_video[videos.video_ids[0]])
    by_step = {step: {video: by_video[video][step] for video in videos.video_ids} for step in range(num_steps)}
    evaluation = score_localization(by_step, videos, model.config, split)
    answering_step = model.answering_step()
    if (better := better_step(evaluation.metrics, answering_step)) is not None:
        accelerator.print(better_step_sentence(better, answering_step))
    if accelerator.is_main_process:
        evaluation.figures = {"timelines": draw_examples(by_step[answering_step], videos, model.config)}
    return evaluation


def score_localization(
    predictions_per_step: Mapping[int, Predictions], videos: VideoTable, config: PreTrainedConfig, split: str
) -> Evaluation:
    """Score the predictions of each step of a cascade.

    The answer is that of the configuration's `answering_step`, or else of the last step.

    Args:
        predictions_per_step: by step index, in ascending order, predictions of all `videos`.
        videos: with their annotations.
        config: of the model; gives `id2label`, `answering_step`, `tiou_thresholds` and `average_tiou_thresholds`.
        split: name of the split, for the report.

    Returns:
        Metrics `mAP@<tIoU>` and `average_mAP` of the answer, `average_mAP_step<s>` of each step, a table with one row
        per step, and the answer in the ActivityNet results format.
    """
    class_names = [config.id2label[index] for index in range(config.num_labels)]
    scores = {
        step: temporal_detection_map(
            predictions,
            videos.segments,
            config.tiou_thresholds,
            average_thresholds=config.average_tiou_thresholds,
            label_names=class_names,
        )
        for step, predictions in predictions_per_step.items()
    }
    answer = config.answering_step if config.answering_step in scores else max(scores)
    metrics = scores[answer].to_metrics()
    metrics |= {f"{METRIC_OF_STEP}{step}": score.average_mAP for step, score in scores.items()}
    title = f"mAP per tIoU threshold, {len(videos)} {split} videos"
    if (better := better_step(metrics, answer)) is not None:
        title += f"; {better_step_sentence(better, answer)}"
    return Evaluation(
        metrics=metrics,
        primary_metric="average_mAP",
        split=split,
        num_examples=len(videos),
        tables=[_table_of_steps(scores, config, title)],
        predictions=results_to_json(predictions_per_step[answer], class_names),
    )


def better_step(metrics: Mapping[str, float], answering_step: int) -> int | None:
    """Give the step of a cascade whose average mAP is the highest, or None when it is the answering one's."""
    scores = {
        int(name.removeprefix(METRIC_OF_STEP)): value for name, value in metrics.items() if METRIC_OF_STEP in name
    }
    best = max(scores, key=lambda step: (scores[step], step == answering_step))
    return None if best == answering_step else best


def better_step_sentence(better: int, answering_step: int) -> str:
    """Say what to do about a better step."""
    return f"step {better} scores higher than step {answering_step}, which answers unless predict gets --step {better}"


def draw_examples(predictions: Predictions, videos: VideoTable, config: PreTrainedConfig) -> "Figure":
    """Draw the first videos with their annotations and the clearest segments that were found in them."""
    from ..visualization.timelines import draw_timelines

    return draw_timelines(
        {video: clear_segments(predictions[video]) for video in videos.video_ids[:NUM_DRAWN_VIDEOS]},
        durations=dict(zip(videos.video_ids, videos.durations, strict=True)),
        label_names=config.id2label,
        references=videos.segments,
        top_k=10,
    )


def clear_segments(prediction: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the segments of a video whose score is at least `CLEAR_SHARE` of its best one."""
    scores = prediction["scores"]
    kept = scores >= CLEAR_SHARE * scores.max(initial=0)
    return {name: prediction[name][kept] for name in ("segments", "scores", "labels")}


def _table_of_steps(
    scores: Mapping[int, TemporalDetectionResult], config: PreTrainedConfig, title: str
) -> dict[str, Any]:
    averaged = config.average_tiou_thresholds
    return {
        "title": title,
        "columns": [
            "step",
            *(f"{threshold:.2f}" for threshold in config.tiou_thresholds),
            f"average {averaged[0]:.2f} to {averaged[-1]:.2f}",
        ],
        "rows": [
            [f"{step} (base)" if step == 0 else str(step), *(float(value) for value in score.mAP), score.average_mAP]
            for step, score in scores.items()
        ],
    }
