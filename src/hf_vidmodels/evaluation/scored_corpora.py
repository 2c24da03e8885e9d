"""The corpus that `hf-vidmodels evaluate` scores on: it has the split, and numbers its classes as the model does."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..data.contracts import class_names_of
from ..data.corpora import load_corpus

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import DatasetDict


def load_scored_corpus(arguments: argparse.Namespace, task: str, accelerator: "Accelerator") -> "DatasetDict":
    """Load the corpus of the command line; the main process goes first and fills the caches.

    Args:
        arguments: `dataset_name`, `data_dir`, `media_dir`, `skip_missing_files` and `split`.
        task: a key of `tasks.TASKS`.
        accelerator: of this process.

    Raises:
        ValueError: the split is missing, or the corpus does not fit the task.
    """
    with accelerator.main_process_first():
        corpus = load_corpus(
            arguments.dataset_name,
            data_dir=arguments.data_dir,
            task=task,
            media_dir=arguments.media_dir,
            skip_missing_files=arguments.skip_missing_files,
        )
    if arguments.split not in corpus:
        raise ValueError(f"{arguments.dataset_name} has no split {arguments.split!r}, it has {', '.join(corpus)}")
    return corpus


def refuse_other_classes(id2label: Mapping[int, str], label_feature: object) -> None:
    """Refuse a corpus that does not number the same classes in the same way as the model.

    Args:
        id2label: class names of the model by id.
        label_feature: type of the column that holds the classes.

    Raises:
        ValueError: the first class that differs is named.
    """
    ours, class_names = [id2label[index] for index in range(len(id2label))], class_names_of(label_feature)
    if ours != class_names:
        unlike = next(
            (f"{a!r} against {b!r}" for a, b in zip(ours, class_names, strict=False) if a != b),
            f"{len(ours)} against {len(class_names)} classes",
        )
        raise ValueError(f"the model and the corpus have different classes: {unlike}; use the corpus it was made for")
