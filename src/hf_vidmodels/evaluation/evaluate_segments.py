"""`hf-vidmodels evaluate` for temporal action localisation: mAP at several tIoU thresholds, step by step."""

import argparse

from transformers import PreTrainedModel

from ..data.embedded.embedded_cache import default_cache_dir
from ..data.features.corpus_features import add_features
from ..data.features.feature_extraction import SnippetFeatureExtractor
from ..data.features.video_table import VideoTable, warn_of_other_rate
from ..training.recipe import Evaluation
from .localization_evaluation import draw_examples, evaluate_localization
from .scored_corpora import load_scored_corpus

TASK = "temporal-action-localization"


def score_segments(model: PreTrainedModel, arguments: argparse.Namespace) -> Evaluation:
    """Localise actions in the videos of a split and score them; a sheet of timelines shows the last step.

    A corpus of videos without features is scored when the checkpoint carries its feature extractor.

    Args:
        model: a model that can `localize`, in evaluation mode, on its device.
        arguments: `corpus`, `data_dir`, `split`, `batch_size` and `feature_processes`.

    Raises:
        ValueError: when the split is missing, has other classes, or has no features and the model makes none.
    """
    config = model.config
    corpus = load_scored_corpus(arguments, TASK, "labels", config.id2label)
    if "features" not in corpus[arguments.split].column_names:
        extractor = SnippetFeatureExtractor.from_checkpoint(model, device=model.device)
        corpus = add_features(corpus, extractor, default_cache_dir(), num_processes=arguments.feature_processes or 1)
    videos = VideoTable.from_corpus(corpus[arguments.split])
    warn_of_other_rate([videos], config.frames_per_second, config.frames_per_snippet)
    per_step = model.localize(
        [videos.load(index, config.hidden_size) for index in range(len(videos))],
        return_all_steps=True,
        batch_size=arguments.batch_size,
    )
    by_step = {step: dict(zip(videos.video_ids, found, strict=True)) for step, found in enumerate(per_step)}
    evaluation = evaluate_localization(by_step, videos, config, arguments.split)
    evaluation.figures = {"timelines": draw_examples(by_step[max(by_step)], videos, config)}
    return evaluation
