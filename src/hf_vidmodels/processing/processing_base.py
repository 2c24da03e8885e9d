"""What all processors share, whatever transformers class they extend: saving rules that keep repositories whole."""

import os
from typing import Any


class SharedProcessorMixin:
    """Mix in before transformers' feature, image or video processor class.

    The same two rules as for configurations and models: package classes are never registered for an auto class, and
    a package processor that was loaded from a repository with exported code forgets that repository's `auto_map`.
    """

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
