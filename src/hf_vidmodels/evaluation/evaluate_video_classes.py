"""`hf-vidmodels evaluate` for video classification: accuracies over all views of a video, and what a view costs."""

import argparse

from transformers import AutoVideoProcessor, PreTrainedModel

from ..training.recipe import Evaluation
from .classification_evaluation import draw_kept_examples, evaluate_video_classifier
from .scored_corpora import load_scored_corpus

TASK = "video-classification"


def score_video_classes(model: PreTrainedModel, arguments: argparse.Namespace) -> Evaluation:
    """Classify the videos of a split by the views of the model's test protocol, and score the answers.

    Args:
        model: a video classifier in evaluation mode, on its device.
        arguments: `model`, `corpus`, `data_dir`, `split`, `batch_size`; `num_views` and `num_crops` may be None for
            those of the protocol.

    Raises:
        ValueError: when the split is missing, has other classes, or videos without one, or too many cannot be read.
    """
    processor = AutoVideoProcessor.from_pretrained(arguments.model)
    corpus = load_scored_corpus(arguments, TASK, "label", model.config.id2label)
    videos = corpus[arguments.split]
    evaluation = evaluate_video_classifier(
        model,
        processor,
        videos,
        split=arguments.split,
        num_views=arguments.num_views,
        num_crops=arguments.num_crops,
        batch_size=arguments.batch_size,
    )
    if getattr(model.config, "has_selection", False):
        evaluation.figures = draw_kept_examples(model, processor, videos)
    return evaluation
