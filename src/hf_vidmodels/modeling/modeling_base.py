"""What all models share: saving rules that keep shared repositories whole."""

import os
from typing import Any

from transformers import PreTrainedModel


class VidModelsPreTrainedModel(PreTrainedModel):
    """Base of all models of this package.

    Subclasses initialise every raw parameter and every non-persistent buffer in `_init_weights` (with the functions of
    `transformers.initialization`), because `from_pretrained` builds the model without memory and leaves what a
    checkpoint lacks undefined, and call `self.post_init()` at the end of their constructor.
    """

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Do as transformers does for code exported to the Hub, and nothing for the package's own classes."""
        if not cls.__module__.startswith("hf_vidmodels."):
            super().register_for_auto_class(auto_class)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save configuration and safetensors weights, see `transformers.PreTrainedModel.save_pretrained`.

        A package model that was loaded from a repository with exported code forgets that repository's `auto_map`:
        the code files are not copied along, and `hf_vidmodels.hub.code_export.export_code` writes both together.
        """
        if type(self).__module__.startswith("hf_vidmodels.") and hasattr(self.config, "auto_map"):
            del self.config.auto_map
        super().save_pretrained(save_directory, **kwargs)
