"""Video classification measured: accuracies over all views of a video, and what a view costs. Shared by training runs
and `hf-vidmodels evaluate`.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Subset
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from ..configuration.configuration_stts import SttsConfig
from ..data.arrow_columns import arrow_column
from ..data.unreadable_videos import DEFAULT_SHARE, UnreadableVideos, short_names
from ..data.video_clips import VideoViews, collate_clips
from ..metrics.video_classification import VideoScores, group_views, mean_class_accuracy, topk_accuracy
from ..modeling.modeling_stts import kept_regions
from ..modeling.multiply_adds import multiply_adds
from ..training.recipe import Evaluation

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

    from ..processing.base_video_processing import VideoViewsProcessor

TOP_KS = (1, 5)
NUM_DRAWN_VIDEOS = 3
CLASSES_IN_PICTURE = 3
# Of every batch's noise, so that an evaluation repeats.
NOISE_SEED = 0


def evaluate_video_classifier(
    model: PreTrainedModel,
    processor: "VideoViewsProcessor",
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
        is_final: also measure what a view costs, and the accuracy when a selecting model mixes tokens softly as it
            does at the start of training, with noise of deviation `sigma`; False for a quick look while training.

    Returns:
        Metrics `top1_accuracy`, `top5_accuracy` (with more than 5 classes), `mean_class_accuracy` and, for a model
        with learned selection, `soft_top1_accuracy`; one table with these and the cost; the best classes of every
        video as predictions.

    Raises:
        ValueError: more videos than allowed cannot be read, or one has no label.
    """
    require_single_labels(dataset, split)
    accelerator = Accelerator() if accelerator is None else accelerator
    views = VideoViews(dataset, processor, num_views, num_crops)
    selects = getattr(model.config, "has_selection", False)
    passes = {"hard": False}
    if is_final and selects and model.config.selection_mode == "learned":
        passes["soft"] = True
    stopwatch = _Stopwatch(model.device)
    rows: list[dict[str, Any]] = []
    with accelerator.split_between_processes(list(range(len(views)))) as mine:
        loader = DataLoader(
            Subset(views, mine),
            batch_size=max(batch_size // (views.num_views * views.num_crops), 1),
            num_workers=num_workers,
            collate_fn=collate_clips,
        )
        for batch in loader:
            rows += _score_batch(model, batch, passes, batch_size, stopwatch)
    rows, clips_per_second = gather_object(rows), sum(gather_object([stopwatch.clips_per_second]))
    unreadable = UnreadableVideos(len(views), max_unreadable_share)
    unreadable.add(row["name"] for row in rows if not row["readable"])
    read = [row for row in rows if row["readable"]]
    if not read:
        raise ValueError(f"none of the {len(views)} videos of split {split!r} can be read")
    scored = {
        name: group_views(
            np.concatenate([row[name] for row in read]),
            np.repeat([row["label"] for row in read], views.num_views * views.num_crops),
            np.repeat([row["index"] for row in read], views.num_views * views.num_crops).tolist(),
            aggregation=processor.view_aggregation,
        )
        for name in passes
    }
    metrics = _accuracies(scored["hard"])
    if "soft" in scored:
        metrics["soft_top1_accuracy"] = topk_accuracy(scored["soft"].scores, scored["soft"].labels, 1)
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
    return Evaluation(
        metrics=metrics,
        primary_metric="top1_accuracy",
        split=split,
        num_examples=len(read),
        tables=[table],
        predictions=_predictions(scored["hard"], views, model.config.id2label, unreadable),
    )


def require_single_labels(dataset: "Dataset", split: str) -> None:
    """Refuse videos without a class and videos with several.

    Raises:
        ValueError: there are such.
    """
    labels = arrow_column(dataset, "label")
    if not hasattr(dataset.features["label"], "num_classes"):
        raise ValueError(f"the videos of split {split!r} have lists of labels, but accuracy needs one class for each")
    if labels.null_count:
        raise ValueError(
            f"{labels.null_count} of {len(dataset)} videos of split {split!r} have no label: leave them "
            "out or name their class"
        )


def draw_kept_examples(
    model: PreTrainedModel, processor: "VideoViewsProcessor", dataset: "Dataset"
) -> "dict[str, Figure]":
    """Draw what a selecting model keeps of some videos from all over the data, a film strip `kept_tokens_<n>` of each.

    Args:
        model: in evaluation mode.
        processor: of the model.
        dataset: the videos.
    """
    from ..visualization.kept_tokens import draw_kept_tokens

    figures = {}
    views = VideoViews(dataset, processor, num_views=1, num_crops=1)
    chosen = np.linspace(0, len(views) - 1, min(NUM_DRAWN_VIDEOS, len(views))).astype(int).tolist()
    for number, index in enumerate(chosen):
        item = views[index]
        if not item["readable"]:
            continue
        clip = item["pixel_values"]
        with torch.no_grad():
            output = model(clip.to(model.device))
        scores, classes = output.logits[0].float().softmax(-1).topk(min(CLASSES_IN_PICTURE, output.logits.shape[1]))
        answers = [
            (model.config.id2label[label], score)
            for label, score in zip(classes.tolist(), scores.tolist(), strict=True)
        ]
        truth = model.config.id2label[int(item["labels"])]
        figures[f"kept_tokens_{number + 1}"] = draw_kept_tokens(
            processor.to_pictures(clip[0]), kept_regions(output, model.config)[0], answers, title=f"true: {truth}"
        )
    return figures


def measured_multiply_adds(model: PreTrainedModel) -> int:
    """Run a random clip through the model and let torch count the multiply-adds of matrix products and convolutions.

    Args:
        model: in evaluation mode.
    """
    config = model.config
    clip = torch.rand(1, config.num_frames, config.num_channels, *config.frame_size, device=model.device)
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
    model: PreTrainedModel, batch: dict[str, Any], passes: dict[str, bool], batch_size: int, stopwatch: _Stopwatch
) -> list[dict[str, Any]]:
    """Give for every video of a batch the probabilities of its views, by every way of selecting."""
    videos, num_views = batch["pixel_values"].shape[:2]
    clips = batch["pixel_values"].flatten(0, 1)
    names = iter(batch["unreadable"])
    rows = [
        {"index": index, "label": label, "readable": readable, "name": None if readable else next(names)}
        for index, label, readable in zip(
            batch["index"].tolist(), batch["labels"].tolist(), batch["readable"].tolist(), strict=True
        )
    ]
    for name, is_soft in passes.items():
        probabilities = []
        for part in clips.split(batch_size):
            forward = partial(_probabilities, model, part.to(model.device), is_soft)
            probabilities.append(forward() if is_soft else stopwatch.run(forward, len(part)))
        scores = torch.cat(probabilities).unflatten(0, (videos, num_views)).cpu().numpy()
        for row, views in zip(rows, scores, strict=True):
            row[name] = views
    return rows


def _probabilities(model: PreTrainedModel, clips: torch.Tensor, is_soft: bool) -> torch.Tensor:
    arguments = {}
    if is_soft:
        generator = torch.Generator(model.device).manual_seed(NOISE_SEED)
        arguments = {"soft_selection": True, "sigma": model.config.sigma, "generator": generator}
    with torch.no_grad():
        return model(clips, **arguments).logits.float().softmax(-1)


def _accuracies(videos: VideoScores) -> dict[str, float]:
    num_classes = videos.scores.shape[1]
    # All videos are among the five best of five classes.
    accuracies = {
        f"top{k}_accuracy": topk_accuracy(videos.scores, videos.labels, k) for k in TOP_KS if k < num_classes or k == 1
    }
    return {**accuracies, "mean_class_accuracy": mean_class_accuracy(videos.scores, videos.labels)}


def _cost(model: PreTrainedModel, clips_per_second: float) -> list[list[Any]]:
    """Give rows on what a view costs; one multiply-add counts as one FLOP, as in the papers."""
    rows = [["GFLOPs a view, measured", measured_multiply_adds(model) / 1e9], ["clips a second", clips_per_second]]
    if isinstance(model.config, SttsConfig):
        rows.insert(0, ["GFLOPs a view, closed form", multiply_adds(model.config)["total"] / 1e9])
    return rows


def _predictions(
    videos: VideoScores, views: VideoViews, id2label: dict[int, str], unreadable: UnreadableVideos
) -> dict[str, Any]:
    """Give the five best classes of every video by the name of its file, and the videos that could not be read."""
    best = np.argsort(-videos.scores, axis=1, kind="stable")[:, : max(TOP_KS)]
    shares = videos.scores / videos.scores.sum(1, keepdims=True)
    all_names = [views.name(index) for index in range(len(views))]
    names = short_names(all_names, all_names)
    results = {
        names[index]: [
            {"label": id2label[int(label)], "score": round(float(shares[row, label]), 6)} for label in best[row]
        ]
        for row, index in enumerate(videos.video_ids)
    }
    return {"results": results, "unreadable": short_names(unreadable.names, all_names)}
