"""The corpus that `hf-vidmodels evaluate` scores on: it has the split, and numbers its classes as the model does."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..data.contracts import class_names_of
from ..data.corpora import load_corpus

if TYPE_CHECKING:
    from datasets import DatasetDict


def load_scored_corpus(
    arguments: argparse.Namespace, task: str, label_column: str, id2label: Mapping[int, str] | None
) -> "DatasetDict":
    """Load the corpus of the command line and check that it fits.

    Args:
        arguments: `corpus`, `data_dir`, `media_dir`, `skip_missing_files` and `split`.
        task: a key of `contracts.TASKS`.
        label_column: the column whose type holds the class names.
        id2label: class names of the model by id; None for a model that knows no classes.

    Raises:
        ValueError: the split is missing, or model and corpus do not number the same classes in the same way.
    """
    corpus = load_corpus(
        arguments.corpus,
        data_dir=arguments.data_dir,
        task=task,
        media_dir=arguments.media_dir,
        skip_missing_files=arguments.skip_missing_files,
    )
    if arguments.split not in corpus:
        raise ValueError(f"{arguments.corpus} has no split {arguments.split!r}, it has {', '.join(corpus)}")
    if id2label is not None:
        _refuse_other_classes(id2label, class_names_of(corpus[arguments.split].features[label_column]))
    return corpus


def _refuse_other_classes(id2label: Mapping[int, str], class_names: list[str]) -> None:
    ours = [id2label[index] for index in range(len(id2label))]
    if ours != class_names:
        unlike = next(
            (f"{a!r} against {b!r}" for a, b in zip(ours, class_names, strict=False) if a != b),
            f"{len(ours)} against {len(class_names)} classes",
        )
        raise ValueError(f"the model and the corpus have different classes: {unlike}; use the corpus it was made for")
