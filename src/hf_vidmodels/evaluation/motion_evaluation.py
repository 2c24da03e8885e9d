"""What motion features learned without labels are worth: how well they reconstruct and predict, and what a linear
classifier and the nearest neighbours make of them while they stay as they are. For training runs and the evaluate
command.
"""

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader, Subset
from transformers import PreTrainedModel

from ..configuration.configuration_hierarchical_motion import BATCH
from ..data.unreadable_videos import DEFAULT_SHARE, UnreadableVideos
from ..data.video_clips import VideoViews, collate_clips
from ..metrics.classification_accuracy import topk_accuracy
from ..modeling.ops.frame_reconstruction import photometric_loss
from ..processing.base_video_processing import VideoViewsProcessor
from .answer_forms import prepare_to_answer
from .evaluation import Evaluation, rows_of_process
from .scored_corpora import load_scored_corpus
from .video_classification_evaluation import load_views_processor

if TYPE_CHECKING:
    from datasets import Dataset

MOTION_TASK = "motion-pretraining"
TRAIN_SPLIT = "train"
TOP_KS = (1, 5)
# Of the linear probe: weight of the squared weights beside the mean loss, and steps of L-BFGS.
PROBE_DECAY = 1e-3
PROBE_STEPS = 200
LEAST_DEVIATION = 1e-6
NUM_DRAWN_VIDEOS = 3


def evaluate_on_corpus(model: PreTrainedModel, arguments: argparse.Namespace, accelerator: Accelerator) -> Evaluation:
    """Measure a pre-trained model on a split of a corpus, and on its split `train` for what learns from labels.

    Args:
        model: for pre-training, in evaluation mode, on its device.
        arguments: those of the evaluate command.
        accelerator: whose processes share the videos.

    Raises:
        ValueError: when the split is missing, or too many videos cannot be read.
    """
    prepare_to_answer(model, arguments.mixed_precision)
    processor = load_views_processor(arguments.model)
    corpus = load_scored_corpus(arguments, MOTION_TASK, accelerator)
    return evaluate_motion(
        model,
        processor,
        corpus[arguments.split],
        split=arguments.split,
        train=corpus.get(TRAIN_SPLIT),
        accelerator=accelerator,
        batch_size=arguments.batch_size,
    )


def evaluate_motion(
    model: PreTrainedModel,
    processor: VideoViewsProcessor,
    dataset: "Dataset",
    *,
    split: str,
    train: "Dataset | None" = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    max_unreadable_share: float = DEFAULT_SHARE,
    is_final: bool = True,
) -> Evaluation:
    """Measure frozen motion features on the videos of a split, a middle view of each.

    Args:
        model: `HierarchicalMotionForPreTraining` in evaluation mode, on its device.
        processor: of the model.
        dataset: a split with the column `video`.
        split: its name, for the report.
        train: videos that linear classifier and neighbours are taken from; without, or without labels in both, these
            are not measured. Nor are they of videos with several classes.
        accelerator: whose processes share the videos; None for this process alone.
        batch_size: clips in one forward pass; among them predictions find their negatives.
        num_workers: processes that read videos.
        max_unreadable_share: of the videos, that may be unreadable.
        is_final: also measure what needs labels, and draw; False for a quick look while training.

    Returns:
        Metrics `reconstruction_gain` (1 - error of the frames that are made from the next ones / error of the next
        frames themselves), `contrastive_accuracy_level<l>` of the levels that learn, and with labels
        `probe_top1_accuracy`, `retrieval_top1_accuracy` (whether the nearest training video by the cosine is of the
        same class) and with more than 5 classes both for 5.

    Raises:
        ValueError: more videos than allowed cannot be read.
    """
    accelerator = Accelerator() if accelerator is None else accelerator
    loading = {"batch_size": batch_size, "num_workers": num_workers, "max_unreadable_share": max_unreadable_share}
    rows, measured = _describe(model, processor, dataset, accelerator, measure=True, **loading)
    weights = np.array([row["clips"] for row in measured], dtype=np.float64)
    metrics = {
        name: float(np.average([row[name] for row in measured], weights=weights))
        for name in measured[0]
        if name != "clips"
    }
    if _has_classes(dataset) and train is not None and _has_classes(train) and is_final:
        known, _ = _describe(model, processor, train, accelerator, measure=False, **loading)
        metrics = _label_metrics(known, rows, train.features["label"].num_classes) | metrics
    table = {
        "title": f"{len(rows)} {split} videos, frozen motion features",
        "columns": ["measure", "value"],
        "rows": [[name.replace("_", " "), value] for name, value in metrics.items()],
    }
    evaluation = Evaluation(
        metrics=metrics,
        primary_metric=next(iter(metrics)),
        split=split,
        num_examples=len(rows),
        tables=[table],
    )
    if is_final and accelerator.is_main_process:
        evaluation.figures = _draw_examples(model, processor, dataset)
    return evaluation


def fit_probe(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> nn.Linear:
    """Fit a linear classifier by penalised maximum likelihood, the same each time.

    Args:
        features: (N, C), standardised.
        labels: (N,) class ids.
        num_classes: K.
    """
    probe = nn.Linear(features.shape[1], num_classes, dtype=features.dtype, device=features.device)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=PROBE_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(probe(features), labels) + PROBE_DECAY * probe.weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return probe


def neighbour_hits(known: torch.Tensor, queries: torch.Tensor, same: torch.Tensor, k: int) -> float:
    """Give the share of queries that have one of their own class among their k nearest by the cosine.

    Args:
        known: (N, C).
        queries: (M, C).
        same: (M, N) bool, which known ones are of the class of which query.
        k: neighbours, at most N.
    """
    known, queries = (nn.functional.normalize(rows, dim=1) for rows in (known, queries))
    nearest = (queries @ known.T).topk(k, dim=1).indices
    return same.gather(1, nearest).any(1).double().mean().item()


def _has_classes(dataset: "Dataset") -> bool:
    return hasattr(dataset.features.get("label"), "num_classes")


def _label_metrics(known: list[dict[str, Any]], rows: list[dict[str, Any]], num_classes: int) -> dict[str, float]:
    """Measure linear classifier and neighbours, of the videos whose class is known."""
    sides = [[row for row in side if row["label"] >= 0] for side in (known, rows)]
    if not all(sides):
        return {}
    features, queries = (torch.from_numpy(np.stack([row["features"] for row in side])).double() for side in sides)
    labels, truth = (torch.tensor([row["label"] for row in side]) for side in sides)
    mean, deviation = features.mean(0), features.std(0, correction=0).clamp_min(LEAST_DEVIATION)
    features, queries = ((values - mean) / deviation for values in (features, queries))
    scores = fit_probe(features, labels, num_classes)(queries).detach().numpy()
    same = truth[:, None] == labels
    metrics = {}
    for k in TOP_KS:
        if k == 1 or k < num_classes:
            metrics[f"probe_top{k}_accuracy"] = topk_accuracy(scores, truth.numpy(), k)
            metrics[f"retrieval_top{k}_accuracy"] = neighbour_hits(features, queries, same, min(k, len(features)))
    return metrics


@torch.no_grad()
def _describe(
    model: PreTrainedModel,
    processor: VideoViewsProcessor,
    dataset: "Dataset",
    accelerator: Accelerator,
    *,
    measure: bool,
    batch_size: int,
    num_workers: int,
    max_unreadable_share: float,
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Give index, class and features of every video that can be read, and what was measured of every batch."""
    views = VideoViews(dataset, processor, num_views=1, num_crops=1)
    loader = DataLoader(
        Subset(views, rows_of_process(accelerator, len(views))),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate_clips,
    )
    rows: list[dict[str, Any]] = []
    measured: list[dict[str, float]] = []
    unreadable: list[str] = []
    for batch in loader:
        unreadable += batch["unreadable"]
        readable = batch["readable"]
        if not readable.any():
            continue
        clips = batch["pixel_values"][readable, 0].to(model.device, model.dtype)
        labels = batch["labels"][readable]
        labels = labels if labels.ndim == 1 else torch.full((len(labels),), -1)
        features = model.describe(clips).float().cpu().numpy()
        if measure:
            measured.append(_measure(model, clips))
        rows += [
            {"index": index, "label": label, "features": vector}
            for index, label, vector in zip(batch["index"][readable].tolist(), labels.tolist(), features, strict=True)
        ]
    counted = UnreadableVideos(len(views), max_unreadable_share)
    counted.add(gather_object(unreadable))
    rows = sorted(gather_object(rows), key=lambda row: row["index"])
    if not rows:
        raise ValueError(f"none of the {len(views)} videos can be read")
    return rows, gather_object(measured)


def _measure(model: PreTrainedModel, clips: torch.Tensor) -> dict[str, float]:
    """Measure how well clips are reconstructed and, by the levels that learn, predicted."""
    config = model.config
    # A clip alone has none of the negatives from other clips.
    alone = len(clips) == 1 and set(config.negatives) == {BATCH}
    output = model(clips.repeat(2, 1, 1, 1, 1) if alone else clips)
    found = model.reconstruct(clips, output.displacement[: len(clips)])
    following = model.frames_of(clips)[:, 1:]
    frames, made, mask, following = (
        part.flatten(0, 1) for part in (found.frames, found.reconstructed, found.mask, following)
    )
    error, still = (photometric_loss(frames, other, mask, config.charbonnier_eps) for other in (made, following))
    levels = [level for level in model.learning_levels if level]
    accuracies = {
        f"contrastive_accuracy_level{level}": accuracy
        for level, accuracy in zip(levels, output.contrastive_accuracies.tolist(), strict=True)
    }
    return {"clips": len(clips), "reconstruction_gain": 1 - (error / still).item(), **accuracies}


def _draw_examples(model: PreTrainedModel, processor: VideoViewsProcessor, dataset: "Dataset") -> dict[str, Any]:
    """Draw displacement and reconstruction of some videos from all over the data."""
    from ..visualization.motion_fields import draw_motion

    views = VideoViews(dataset, processor, num_views=1, num_crops=1)
    chosen = np.linspace(0, len(views) - 1, min(NUM_DRAWN_VIDEOS, len(views))).astype(int).tolist()
    figures = {}
    for number, index in enumerate(chosen, 1):
        item = views[index]
        if item["readable"]:
            found = reconstruct_clip(model, item["pixel_values"][0])
            figures[f"motion_{number}"] = draw_motion(**found, title=views.name(index))
    return figures


@torch.no_grad()
def reconstruct_clip(model: PreTrainedModel, clip: torch.Tensor) -> dict[str, np.ndarray]:
    """Give the parts of the `Reconstruction` of one clip (T, 3, H, W), normalised, by name, without axis of clips."""
    clips = clip[None].to(model.device, model.dtype)
    found = model.reconstruct(clips, model.displacement_head(model.motion_features(clips)[0]))
    return {name: part[0].float().cpu().numpy() for name, part in found.items()}
