"""The base of recipes that train a detector of actions: the key times of a corpus, and the mAP of what is found."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from ...data.corpora import load_corpus
from ...evaluation.action_detection_evaluation import evaluate_detection
from ...evaluation.evaluation import Evaluation
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..recipe import Recipe


class ActionDetectionRecipe(Recipe):
    """Trains a detector on clips around annotated key times.

    A subclass sets `processor` in `build_model`; its `train_dataset` has `name(index)`.

    Attributes:
        train: the training split; set by `prepare_data`.
        evaluation: the split that is evaluated, or None.
        eval_split: its name.
    """

    task = "action-detection"

    def prepare_data(self) -> None:
        """Load the corpus.

        Raises:
            ValueError: for missing splits.
        """
        corpus = load_corpus(self.args.dataset_name, data_dir=self.args.data_dir, task=self.task)
        self.eval_split = choose_eval_split(self.args, corpus)
        self.train = corpus[TRAIN_SPLIT]
        self.evaluation = None if self.eval_split is None else corpus[self.eval_split]

    def score(self, model: PreTrainedModel, **options: Any) -> Evaluation:
        """Score what a model finds at the key times of the evaluation split; options as of `evaluate_detection`."""
        return evaluate_detection(
            model,
            self.processor,
            self.evaluation,
            split=self.eval_split,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
            **options,
        )

    def sample_names(self, stage_index: int, items: Sequence[Any]) -> list[str]:
        """Name samples by their video and key time."""
        clips = self.train_dataset(stage_index)
        return [clips.name(index) for _, index in items]
