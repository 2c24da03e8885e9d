"""The one door to all converters of official checkpoints: `convert_<stem>` in `convert_<stem>.py` of each method."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFIX = "convert_"


def converted_methods() -> list[str]:
    """Give the stems of the methods that have a converter."""
    stems = {path.stem for path in Path(__file__).parent.glob(f"{PREFIX}*.py")} - {Path(__file__).stem}
    return sorted(stem.removeprefix(PREFIX) for stem in stems)


def convert_official_checkpoint(
    method: str, state_dict_or_path: Any, official_config: Mapping[str, Any]
) -> "PreTrainedModel":
    """Turn the checkpoint of a method's official code into our model.

    Args:
        method: one of `converted_methods()`.
        state_dict_or_path: weights as a state dict, a file, or for cascades the list of their parts or a folder.
        official_config: the official code's options by their own names.

    Returns:
        The model in evaluation mode, with every weight of the checkpoint in its place.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: no such method, or a checkpoint and options that do not fit each other; nothing is left over
            silently.
    """
    if method not in converted_methods():
        raise ValueError(f"there is no converter for method {method!r}; there are: {', '.join(converted_methods())}")
    name = f"{PREFIX}{method}"
    return getattr(importlib.import_module(f".{name}", __package__), name)(state_dict_or_path, official_config)
