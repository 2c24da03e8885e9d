"""Video classification measured: accuracies over all views of a video, and what a view costs. For training runs and
the evaluate command.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Subset
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoVideoProcessor, PreTrainedModel

from ..configuration.configuration_stts import SttsConfig
from ..data.unreadable_videos import DEFAULT_SHARE, UnreadableVideos, short_names
from ..data.video_clips import VideoViews, collate_clips
from ..modeling.modeling_stts import kept_regions
from ..modeling.multiply_adds import multiply_adds
from ..processing.base_video_processing import VideoViewsProcessor
from .answer_forms import prepare_to_answer
from .class_scores import best_classes, class_metrics, class_probabilities, is_multi_label, require_labels
from .evaluation import Evaluation, rows_of_process
from .gta_figures import (
    MATRICES_STEM,
    draw_matrices_of,
    has_regions,
    has_temporal_matrices,
    region_shares_of_clip,
)
from .scored_corpora import load_scored_corpus, refuse_other_classes
from .video_views import logits_of_views, sees_whole_videos

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

TASK = "video-classification"
# How the probabilities of a video's views become one, by the names of `view_scores.VIEW_AGGREGATIONS`.
AGGREGATE = {"sum": np.sum, "mean": np.mean, "max": np.max}
NUM_DRAWN_VIDEOS = 3
CLASSES_IN_PICTURE = 3
# Of every batch's noise, so that an evaluation repeats.
NOISE_SEED = 0


def evaluate_on_corpus(model: PreTrainedModel, arguments: argparse.Namespace, accelerator: Accelerator) -> Evaluation:
    """Classify the videos of a split by the views of the model's test protocol, and score the answers.

    Args:
        model: a video classifier in evaluation mode, on its device.
        arguments: those of the evaluate command; `num_views` and `num_crops` may be None for those of the protocol.
        accelerator: whose processes share the videos.

    Raises:
        ValueError: when the split is missing, has other classes, or videos without one, too many cannot be read, or
            the checkpoint has no processor that makes views.
    """
    processor = load_views_processor(arguments.model)
    prepare_to_answer(model, arguments.mixed_precision)
    videos = load_scored_corpus(arguments, TASK, accelerator)[arguments.split]
    refuse_other_classes(model.config.id2label, videos.features["label"])
    return evaluate_video_classifier(
        model,
        processor,
        videos,
        split=arguments.split,
        accelerator=accelerator,
        num_views=arguments.num_views,
        num_crops=arguments.num_crops,
        batch_size=arguments.batch_size,
    )


def load_views_processor(model: str) -> VideoViewsProcessor:
    """Load the processor of a checkpoint (folder or Hub id).

    Raises:
        ValueError: it makes no views.
    """
    processor = AutoVideoProcessor.from_pretrained(model)
    if not isinstance(processor, VideoViewsProcessor):
        raise ValueError(
            f"{model} has a {type(processor).__name__}, which makes no test views of a video; give a video classifier "
            "of hf_vidmodels"
        )
    return processor


def evaluate_video_classifier(
    model: PreTrainedModel,
    processor: VideoViewsProcessor,
    dataset: "Dataset",
    *,
    split: str,
    accelerator: Accelerator | None = None,
    num_views: int | None = None,
    num_crops: int | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    max_unreadable_share: float = DEFAULT_SHARE,
    is_final: bool = True,
    forward_options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Classify every video of a split by all views of a test protocol and score the answers.

    Args:
        model: in evaluation mode, on its device; the whole model on every process.
        processor: of the model.
        dataset: a split with the columns `video` and `label`.
        split: its name, for the report.
        accelerator: whose processes share the videos; None for this process alone.
        num_views: views in time; None for the processor's protocol.
        num_crops: crops of each; None for the processor's protocol.
        batch_size: clips in one forward pass.
        num_workers: processes that read videos.
        max_unreadable_share: of the videos, that may be unreadable; these are left out of the accuracies and named.
        is_final: also measure what a view costs, and the first metric when a selecting model mixes tokens softly as it
            does at the start of training, with noise of deviation `sigma`, and draw what it keeps or how it mixes
            frames; False for a quick look while training.
        forward_options: further arguments of the model's forward pass.

    Returns:
        Metrics `top1_accuracy`, `top5_accuracy` (with more than 5 classes) and `mean_class_accuracy`, or `mAP` where
        the model's `problem_type` is `"multi_label_classification"`; for a model with learned selection also the
        first of them with the prefix `soft_`. One table with these and the cost, and the best classes of every video
        as predictions.

    Raises:
        ValueError: more videos than allowed cannot be read, one has no label, or labels are of another kind than the
            model's.
    """
    multi_label = is_multi_label(model.config)
    require_labels(dataset, split, multi_label=multi_label)
    accelerator = Accelerator() if accelerator is None else accelerator
    views = VideoViews(dataset, processor, num_views, num_crops)
    selects = getattr(model.config, "has_selection", False)
    options = dict(forward_options or {})
    passes = {"hard": options}
    if is_final and selects and model.config.selection_mode == "learned":
        passes["soft"] = {**options, "soft_selection": True, "sigma": model.config.sigma}
    stopwatch = _Stopwatch(model.device)
    rows: list[dict[str, Any]] = []
    loader = DataLoader(
        Subset(views, rows_of_process(accelerator, len(views))),
        batch_size=max(batch_size // (views.num_views * views.num_crops), 1),
        num_workers=num_workers,
        collate_fn=collate_clips,
    )
    for batch in loader:
        rows += _score_batch(model, batch, passes, views.num_crops, batch_size, stopwatch)
    rows = sorted(gather_object(rows), key=lambda row: row["index"])
    clips_per_second = sum(gather_object([stopwatch.clips_per_second]))
    unreadable = UnreadableVideos(len(views), max_unreadable_share)
    unreadable.add(row["name"] for row in rows if not row["readable"])
    read = [row for row in rows if row["readable"]]
    if not read:
        raise ValueError(f"none of the {len(views)} videos of split {split!r} can be read")
    aggregate = AGGREGATE[processor.view_aggregation]
    scores = {name: np.stack([aggregate(row[name].astype(np.float64), axis=0) for row in read]) for name in passes}
    labels = np.stack([row["label"] for row in read])
    metrics = class_metrics(scores["hard"], labels)
    primary_metric = next(iter(metrics))
    if "soft" in scores:
        metrics[f"soft_{primary_metric}"] = class_metrics(scores["soft"], labels)[primary_metric]
    cost = _cost(model, clips_per_second) if is_final else []
    table = {
        "title": f"{len(read)} {split} videos, {views.num_views} x {views.num_crops} views of each",
        "columns": ["measure", "value"],
        "rows": [
            *([name.replace("_", " "), value] for name, value in metrics.items()),
            *cost,
            ["unreadable videos", len(unreadable.names)],
        ],
    }
    # Summed over views, scores grow with their number; shares are what people read.
    summed_views = views.num_views * views.num_crops if processor.view_aggregation == "sum" else 1
    shares = scores["hard"] / (summed_views if multi_label else scores["hard"].sum(1, keepdims=True))
    answers = [best_classes(row, model.config.id2label) for row in shares]
    evaluation = Evaluation(
        metrics=metrics,
        primary_metric=primary_metric,
        split=split,
        num_examples=len(read),
        tables=[table],
        predictions=_predictions([row["index"] for row in read], answers, views, unreadable),
    )
    if is_final and accelerator.is_main_process:
        if selects:
            evaluation.figures = draw_kept_examples(model, processor, dataset)
        elif has_temporal_matrices(model):
            evaluation.figures = draw_mixing(model, processor, dataset)
    return evaluation


def draw_kept_examples(
    model: PreTrainedModel, processor: VideoViewsProcessor, dataset: "Dataset"
) -> "dict[str, Figure]":
    """Draw what a selecting model keeps of some videos from all over the data, a film strip `kept_tokens_<n>` of each.

    Args:
        model: in evaluation mode.
        processor: of the model.
        dataset: the videos.
    """
    from ..visualization.kept_tokens import draw_kept_tokens

    figures = {}
    for number, item in _examples(processor, dataset):
        clip = item["pixel_values"]
        with torch.no_grad():
            output = model(clip.to(model.device))
        probabilities = class_probabilities(output.logits[0], model.config)
        scores, classes = probabilities.topk(min(CLASSES_IN_PICTURE, len(probabilities)))
        answers = [
            (model.config.id2label[label], score)
            for label, score in zip(classes.tolist(), scores.tolist(), strict=True)
        ]
        figures[f"kept_tokens_{number}"] = draw_kept_tokens(
            processor.to_pictures(clip[0]),
            kept_regions(output, model.config)[0],
            answers,
            title=f"true: {_class_names(item, model)}",
        )
    return figures


def draw_mixing(model: PreTrainedModel, processor: VideoViewsProcessor, dataset: "Dataset") -> "dict[str, Figure]":
    """Draw the matrices by which a model mixes frames, and its regions in some videos from all over the data.

    Args:
        model: a GTA network in evaluation mode.
        processor: of the model.
        dataset: the videos.

    Returns:
        `temporal_matrices`, and `regions_<n>` where the model has regions.
    """
    from ..visualization.temporal_mixing import draw_regions

    figures = {MATRICES_STEM: draw_matrices_of(model)}
    if not has_regions(model):
        return figures
    for number, item in _examples(processor, dataset):
        clip = item["pixel_values"]
        with torch.no_grad():
            shares = model(clip.to(model.device), output_regions=True).region_shares
        figures[f"regions_{number}"] = draw_regions(
            processor.to_pictures(clip[0]), region_shares_of_clip(model, shares, 0), title=_class_names(item, model)
        )
    return figures


def _examples(processor: VideoViewsProcessor, dataset: "Dataset") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield some videos from all over the data that can be read, one view of each, with their numbers from 1."""
    views = VideoViews(dataset, processor, num_views=1, num_crops=1)
    chosen = np.linspace(0, len(views) - 1, min(NUM_DRAWN_VIDEOS, len(views))).astype(int).tolist()
    for number, index in enumerate(chosen, 1):
        item = views[index]
        if item["readable"]:
            yield number, item


def _class_names(item: dict[str, Any], model: PreTrainedModel) -> str:
    return ", ".join(model.config.id2label[label] for label in _class_ids(item["labels"]))


def _class_ids(label: torch.Tensor) -> list[int]:
    """Give the classes of one video, from a class id or a multi-hot row."""
    return [int(label)] if label.dim() == 0 else label.nonzero().flatten().tolist()


def measured_multiply_adds(model: PreTrainedModel) -> int:
    """Run a random clip through the model and let torch count the multiply-adds of matrix products and convolutions.

    Args:
        model: in evaluation mode.
    """
    config = model.config
    clip = torch.rand(1, config.num_frames, config.num_channels, *config.frame_size, device=model.device)
    clip = clip[:, None] if sees_whole_videos(model) else clip
    # Torch's counter has no formula for the fused attention of CPUs.
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(clip.to(model.dtype))
    return counter.get_total_flops() // 2


class _Stopwatch:
    """Measures clips per second of forward passes alone, the first of which only warms up."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.clips, self.seconds = 0, 0.0
        self._passes = 0

    def run(self, forward: Callable[[], torch.Tensor], num_clips: int) -> torch.Tensor:
        self._wait()
        start = time.perf_counter()
        result = forward()
        self._wait()
        self._passes += 1
        if self._passes > 1:
            self.clips += num_clips
            self.seconds += time.perf_counter() - start
        return result

    @property
    def clips_per_second(self) -> float:
        return self.clips / self.seconds if self.seconds else 0.0

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def _score_batch(
    model: PreTrainedModel,
    batch: dict[str, Any],
    passes: dict[str, dict[str, Any]],
    num_crops: int,
    batch_size: int,
    stopwatch: _Stopwatch,
) -> list[dict[str, Any]]:
    """Give for every video of a batch the probabilities of its views, by every way of selecting."""
    views = batch["pixel_values"].to(model.device)
    names = iter(batch["unreadable"])
    rows = [
        {"index": index, "label": label, "readable": readable, "name": None if readable else next(names)}
        for index, label, readable in zip(
            batch["index"].tolist(), batch["labels"].numpy(), batch["readable"].tolist(), strict=True
        )
    ]
    for name, options in passes.items():
        if "sigma" in options:
            options = {**options, "generator": torch.Generator(model.device).manual_seed(NOISE_SEED)}
        forward = partial(_probabilities, model, views, num_crops, batch_size, options)
        scores = stopwatch.run(forward, views.shape[0] * views.shape[1]) if name == "hard" else forward()
        for row, scored in zip(rows, scores.cpu().numpy(), strict=True):
            row[name] = scored
    return rows


def _probabilities(
    model: PreTrainedModel, views: torch.Tensor, num_crops: int, batch_size: int, options: dict[str, Any]
) -> torch.Tensor:
    with torch.no_grad():
        return class_probabilities(logits_of_views(model, views, num_crops, batch_size, options), model.config)


def _cost(model: PreTrainedModel, clips_per_second: float) -> list[list[Any]]:
    """Give rows on what a view costs; one multiply-add counts as one FLOP, as in the papers."""
    rows = [["GFLOPs a view, measured", measured_multiply_adds(model) / 1e9]]
    if clips_per_second:
        # The first forward pass only warms up; with no second one nothing was timed.
        rows.append(["clips a second", clips_per_second])
    if isinstance(model.config, SttsConfig):
        rows.insert(0, ["GFLOPs a view, closed form", multiply_adds(model.config)["total"] / 1e9])
    return rows


def _predictions(
    rows: list[int], answers: list[list[dict[str, Any]]], views: VideoViews, unreadable: UnreadableVideos
) -> dict[str, Any]:
    """Give the best classes of every video by the name of its file, and the videos that could not be read."""
    all_names = [views.name(index) for index in range(len(views))]
    names = short_names(all_names, all_names)
    results = {names[row]: answer for row, answer in zip(rows, answers, strict=True)}
    return {"results": results, "unreadable": short_names(unreadable.names, all_names)}
