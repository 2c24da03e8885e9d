"""`hf-vidmodels evaluate` for mask labelling: masks from the true boxes against the true masks."""

import argparse

from transformers import AutoImageProcessor, PreTrainedModel

from ..data.instances.mask_corpora import MASK_TASK
from ..training.recipe import Evaluation
from .mask_evaluation import draw_examples, evaluate_masks, label_pictures, require_true_masks
from .scored_corpora import load_scored_corpus


def score_masks(model: PreTrainedModel, arguments: argparse.Namespace) -> Evaluation:
    """Make the masks of a split from its boxes and score them; a sheet shows the first pictures.

    Args:
        model: a model that can `label_masks`, in evaluation mode, on its device.
        arguments: `model`, `corpus`, `data_dir`, `split` and `batch_size`.

    Raises:
        ValueError: when the split is missing or has no true masks.
    """
    pictures = load_scored_corpus(arguments, MASK_TASK, "objects", None)[arguments.split]
    require_true_masks(pictures, arguments.split)
    processor = AutoImageProcessor.from_pretrained(arguments.model)
    labels = label_pictures(model, processor, pictures, range(len(pictures)), arguments.batch_size)
    evaluation = evaluate_masks(labels, pictures, arguments.split)
    evaluation.figures = {"masks": draw_examples(labels, pictures)}
    return evaluation
