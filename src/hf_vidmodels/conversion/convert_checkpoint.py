"""The one door to all converters of official checkpoints; a method with a converter is a line of `CONVERTERS`."""

from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedModel

from .convert_asm_loc import convert_asm_loc
from .convert_mal import convert_mal
from .convert_stts import convert_stts

CONVERTERS: dict[str, Callable[[Any, Mapping[str, Any]], PreTrainedModel]] = {
    "asm_loc": convert_asm_loc,
    "mal": convert_mal,
    "stts": convert_stts,
}


def convert_official_checkpoint(
    method: str, state_dict_or_path: Any, official_config: Mapping[str, Any]
) -> PreTrainedModel:
    """Turn the checkpoint of a method's official code into our model.

    Args:
        method: a key of `CONVERTERS`.
        state_dict_or_path: weights as a state dict, a file, or for cascades the list of their parts or a folder.
        official_config: the official code's options by their own names.

    Returns:
        The model in evaluation mode, with every weight of the checkpoint in its place.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: no such method, or a checkpoint and options that do not fit each other; nothing is left over
            silently.
    """
    if method not in CONVERTERS:
        raise ValueError(f"there is no converter for method {method!r}; there are: {', '.join(sorted(CONVERTERS))}")
    return CONVERTERS[method](state_dict_or_path, official_config)
