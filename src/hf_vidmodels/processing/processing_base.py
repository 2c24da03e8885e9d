"""What all processors share, whatever transformers class they extend: saving rules that keep repositories whole."""

import math
import os
from typing import Any

LARGEST_SIDE = 16384


class SharedProcessorMixin:
    """Mix in before transformers' feature, image or video processor class.

    The same two rules as for configurations and models: package classes are never registered for an auto class, and
    a package processor that was loaded from a repository with exported code forgets that repository's `auto_map`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_numbers()

    @classmethod
    def register_for_auto_class(cls, auto_class: str | None = None) -> None:
        """Do as transformers does for code exported to the Hub, and nothing for the package's own classes."""
        if not cls.__module__.startswith("hf_vidmodels."):
            super().register_for_auto_class(*(() if auto_class is None else (auto_class,)))

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> list[str]:
        """Save the processor's JSON file, see the transformers class that this is mixed into."""
        if type(self).__module__.startswith("hf_vidmodels.") and hasattr(self, "auto_map"):
            del self.auto_map
        return super().save_pretrained(save_directory, **kwargs)

    def _check_numbers(self) -> None:
        """Raise ValueError for sizes and scales that make no picture."""
        for name in ("image_mean", "image_std", "rescale_factor"):
            values = getattr(self, name, None)
            values = [] if values is None else values if isinstance(values, list | tuple) else [values]
            if not all(math.isfinite(value) and (name == "image_mean" or value > 0) for value in values):
                kind = "finite numbers" if name == "image_mean" else "positive numbers, by which pictures are scaled"
                raise ValueError(f"{name} must be {kind}, got {values}")
        for name in ("size", "crop_size"):
            for side in ("height", "width", "shortest_edge", "longest_edge"):
                pixels = getattr(getattr(self, name, None), side, None)
                if pixels is not None and not 1 <= pixels <= LARGEST_SIDE:
                    raise ValueError(f"{name} must have sides of 1 to {LARGEST_SIDE} pixels, got {side} = {pixels}")
