"""What all models share: package classes are told apart from their exported copies, and random weights are known."""

from typing import Any

import torch
from transformers import PreTrainedModel

NUM_NAMED_WEIGHTS = 3


class VidModelsPreTrainedModel(PreTrainedModel):
    """Base of all models of this package.

    Subclasses initialise every raw parameter and every non-persistent buffer in `_init_weights` (with the functions of
    `transformers.initialization`), because `from_pretrained` builds the model without memory and leaves what a
    checkpoint lacks undefined, and call `self.post_init()` at the end of their constructor.

    Attributes:
        random_weights: names of the weights that `from_pretrained` did not find in the checkpoint, or of another
            shape; empty again when training begins.
    """

    random_weights: tuple[str, ...] = ()

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load a saved model, see transformers; remembers which weights it lacks."""
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model.random_weights = lacking_weights(info)
        return (model, info) if output_loading_info else model

    def train(self, mode: bool = True) -> "VidModelsPreTrainedModel":
        """Set the mode, see torch; what is trained is random no longer."""
        if mode:
            self.random_weights = ()
        return super().train(mode)

    @property
    def is_multi_label(self) -> bool:
        """Whether a classifier's classes are independent, so that an example may have several."""
        return self.config.problem_type == "multi_label_classification"

    def _asked_for(self, name: str, argument: bool | None) -> bool:
        """Give an argument of `forward`, or where it is None what the configuration says under its name."""
        return getattr(self.config, name) if argument is None else argument

    def get_input_embeddings(self) -> None:
        """Give None: there is no table of token embeddings, for which quantisation of transformers asks."""
        return None

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Do as transformers does for code exported to the Hub, and nothing for the package's own classes."""
        if not cls.__module__.startswith("hf_vidmodels."):
            super().register_for_auto_class(auto_class)


def refuse_integers(pixel_values: torch.Tensor, name: str = "pixel_values") -> None:
    """Refuse pictures or clips as they are read, which the first layer would refuse in words of its own.

    Args:
        pixel_values: any shape.
        name: of the argument, for the message.

    Raises:
        ValueError: for whole numbers.
    """
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"{name} must be normalised floating-point numbers, got {pixel_values.dtype}; the processor makes them"
        )


def lacking_weights(loading_info: dict[str, Any]) -> tuple[str, ...]:
    """Give the names of the weights that a checkpoint lacks or has in another shape.

    Args:
        loading_info: what `from_pretrained(..., output_loading_info=True)` gives.
    """
    return tuple(sorted({*loading_info["missing_keys"], *(name for name, *_ in loading_info["mismatched_keys"])}))


def refuse_random_weights(names: tuple[str, ...], source: str) -> None:
    """Raise ValueError when weights are random, whose answers would be too.

    Args:
        names: of the weights, as `VidModelsPreTrainedModel.random_weights` or `lacking_weights` gives them.
        source: what lacks them: a folder, a Hub id, or the name of a class.
    """
    if names:
        more = f" and {len(names) - NUM_NAMED_WEIGHTS} more" if len(names) > NUM_NAMED_WEIGHTS else ""
        raise ValueError(
            f"{source} lacks the weights {', '.join(names[:NUM_NAMED_WEIGHTS])}{more}, or has them in another shape, "
            "so that its answers would be random; give a whole checkpoint, or train this one first"
        )
