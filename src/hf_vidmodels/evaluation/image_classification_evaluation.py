"""Image classification measured and drawn, for any classifier of transformers or of this package."""

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import AutoImageProcessor, PreTrainedModel

from ..data.arrow_columns import arrow_column, struct_field
from ..data.unreadable_videos import short_names
from ..metrics.classification_accuracy import label_ranks
from .answer_forms import prepare_to_answer
from .class_scores import TOP_KS, best_classes, class_metrics, class_probabilities, is_multi_label, require_labels
from .evaluation import Evaluation, rows_of_process
from .scored_corpora import load_scored_corpus, refuse_other_classes

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

TASK = "image-classification"
NUM_DRAWN_PICTURES = 16


def evaluate_on_corpus(model: PreTrainedModel, arguments: argparse.Namespace, accelerator: Accelerator) -> Evaluation:
    """Classify the pictures of a split and score the answers; a sheet shows some of them.

    Args:
        model: an image classifier in evaluation mode, on its device.
        arguments: those of the evaluate command.
        accelerator: whose processes share the pictures.

    Raises:
        ValueError: when the split is missing, has other classes, or pictures without one.
    """
    prepare_to_answer(model, arguments.mixed_precision)
    pictures = load_scored_corpus(arguments, TASK, accelerator)[arguments.split]
    refuse_other_classes(model.config.id2label, pictures.features["label"])
    return evaluate_image_classifier(
        model,
        AutoImageProcessor.from_pretrained(arguments.model),
        pictures,
        split=arguments.split,
        accelerator=accelerator,
        batch_size=arguments.batch_size,
    )


def evaluate_image_classifier(
    model: PreTrainedModel,
    processor: Any,
    dataset: "Dataset",
    *,
    split: str,
    accelerator: Accelerator,
    batch_size: int,
    is_final: bool = True,
) -> Evaluation:
    """Classify every picture of a split and score the answers.

    Args:
        model: gives `logits` (B, C) for what `processor` returns; the whole model on every process.
        processor: makes a batch of a list of pictures, as image processors of transformers do.
        dataset: a split with the columns `image` and `label`.
        split: its name, for the report.
        accelerator: whose processes share the pictures.
        batch_size: pictures in one forward pass.
        is_final: also draw the figures `answers` of pictures from all over the split, and `confusion` of classes.

    Returns:
        Metrics `top1_accuracy`, `top5_accuracy` (with more than 5 classes) and `mean_class_accuracy`; of a model with
        several heads the first two of each, such as `conv_top1_accuracy`; the five best classes of every picture as
        predictions.

    Raises:
        ValueError: a picture has no label, or labels are of another kind than the model's.
    """
    require_labels(dataset, split, multi_label=is_multi_label(model.config))
    mine = rows_of_process(accelerator, len(dataset))
    labels = np.array(dataset["label"])
    found: list[tuple[int, tuple[np.ndarray, dict[str, int]]]] = []
    for start in range(0, len(mine), batch_size):
        rows = list(mine[start : start + batch_size])
        pictures = [dataset[row]["image"].convert("RGB") for row in rows]
        scores, heads = _probabilities(model, processor, pictures)
        # Of single heads no more than the place of the true class is kept.
        ranks = {head: label_ranks(values, labels[rows]).tolist() for head, values in heads.items()}
        found += [
            (row, (scores[place], {head: of_rows[place] for head, of_rows in ranks.items()}))
            for place, row in enumerate(rows)
        ]
    by_row = dict(gather_object(found))
    scores = np.stack([by_row[row][0] for row in range(len(dataset))])
    metrics = class_metrics(scores, labels)
    for head in by_row[0][1]:
        ranks = np.array([by_row[row][1][head] for row in range(len(dataset))])
        metrics |= {
            f"{head}_top{k}_accuracy": float((ranks < k).mean()) for k in TOP_KS if f"top{k}_accuracy" in metrics
        }
    names, id2label = _names(dataset), model.config.id2label
    answers = [best_classes(row, id2label) for row in scores]
    evaluation = Evaluation(
        metrics=metrics,
        primary_metric="top1_accuracy",
        split=split,
        num_examples=len(dataset),
        tables=[
            {
                "title": f"{len(dataset)} {split} pictures",
                "columns": ["measure", "value"],
                "rows": [[name.replace("_", " "), value] for name, value in metrics.items()],
            }
        ],
        predictions={"results": dict(zip(names, answers, strict=True))},
    )
    if is_final and accelerator.is_main_process:
        from ..visualization.confusion import confusion_counts, draw_confusion

        counts = confusion_counts(scores.argmax(1), labels, scores.shape[1])
        evaluation.figures = {
            "answers": _draw_answers(dataset, answers, id2label, split),
            "confusion": draw_confusion(
                counts, [id2label[index] for index in range(len(counts))], f"{split} pictures"
            ),
        }
    return evaluation


def classify_pictures(model: PreTrainedModel, processor: Any, pictures: list[Any]) -> np.ndarray:
    """Give the probabilities of the classes of RGB pictures as float32 (B, C)."""
    return _probabilities(model, processor, pictures)[0]


def _probabilities(
    model: PreTrainedModel, processor: Any, pictures: list[Any]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Give what the model answers, and what each of its heads says where it has several, as float32 (B, C)."""
    inputs = processor(pictures, return_tensors="pt").to(model.device, model.dtype)
    with torch.no_grad():
        output = model(**inputs)
        heads = model.head_probabilities(output) if hasattr(model, "head_probabilities") else {}
    answer = class_probabilities(output.logits, model.config).cpu().numpy()
    return answer, {head: values.cpu().numpy() for head, values in heads.items()}


def _names(dataset: "Dataset") -> list[str]:
    """Name pictures by their files, without the folders that all share, and those without a file by their rows."""
    from datasets import Image

    paths = struct_field(arrow_column(dataset.cast_column("image", Image(decode=False)), "image"), "path").to_pylist()
    if None in paths or len(set(paths)) < len(paths):
        return [f"row {row}" for row in range(len(paths))]
    return short_names(paths, paths)


def _draw_answers(
    dataset: "Dataset", answers: list[list[dict[str, Any]]], id2label: dict[int, str], split: str
) -> "Figure":
    from ..visualization.picture_grid import PicturePanel, draw_picture_grid

    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(NUM_DRAWN_PICTURES, len(dataset))).astype(int)).tolist()
    panels = []
    for row in chosen:
        example, (best, *_) = dataset[row], answers[row]
        caption = f"{best['label']} {best['score']:.2f}, true: {id2label[example['label']]}"
        panels.append(PicturePanel(np.asarray(example["image"].convert("RGB")), [], caption))
    return draw_picture_grid(panels, f"answers for {split} pictures")
