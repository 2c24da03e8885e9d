"""What all models share: how package classes and their exported copies are told apart."""

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
