"""The splits of a corpus that a run trains and evaluates on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import DatasetDict

    from .arguments import TrainingArguments

TRAIN_SPLIT = "train"


def choose_eval_split(args: "TrainingArguments", corpus: "DatasetDict") -> str | None:
    """Check that there is a split to train on, and choose the one to evaluate on.

    Args:
        args: `dataset_name`, `eval_strategy` and `eval_split` (None for the first one that is not `train`).
        corpus: all splits.

    Returns:
        the split to evaluate on; None when the corpus has none besides `train` and nothing is evaluated.

    Raises:
        ValueError: there is no split `train`, or none to evaluate on.
    """
    if TRAIN_SPLIT not in corpus:
        raise ValueError(f"corpus {args.dataset_name!r} has no split 'train', it has {', '.join(corpus)}")
    others = [name for name in corpus if name != TRAIN_SPLIT]
    if args.eval_split is not None and args.eval_split not in corpus:
        raise ValueError(f"eval_split {args.eval_split!r} is no split of the corpus, it has {', '.join(corpus)}")
    if args.eval_split is None and not others and args.eval_strategy != "no":
        raise ValueError(
            f"corpus {args.dataset_name!r} has only the split 'train': add one to evaluate on, or train with "
            "--eval_strategy no"
        )
    return args.eval_split or (others[0] if others else None)
