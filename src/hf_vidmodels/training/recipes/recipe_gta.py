"""How GTA is trained: a classifier of clips like any other, by the classification loss alone.

The paper's recipe is not public; that of the recipe files is our reconstruction after public recipes for such
networks.
"""

from dataclasses import dataclass
from typing import ClassVar

from ...configuration.configuration_gta import GtaConfig
from ...modeling.modeling_gta import GtaForVideoClassification
from ...processing.processing_gta import GtaVideoProcessor
from ..sections import MODEL, PROCESSOR
from .residual_video import ResidualVideoArguments, ResidualVideoRecipe


@dataclass
class GtaArguments(ResidualVideoArguments):
    """Arguments of the GTA recipe."""

    sections: ClassVar = {MODEL: GtaConfig, PROCESSOR: GtaVideoProcessor}
    default_preset: ClassVar = "gta_r2d50_8f_ssv2"


class GtaRecipe(ResidualVideoRecipe):
    """Trains a classifier with global temporal attention, or one of its baselines."""

    method = "gta"
    arguments_class = GtaArguments
    model_class = GtaForVideoClassification
    new_modules = ("attentions",)
    args: GtaArguments

    def renamed_weights(self) -> dict[str, str]:
        """Take the non-local blocks of a plain network as joint attention, which they are."""
        return {"backbone.pathways.0.nonlocal_blocks.": "attentions."} if self.config.attention_type == "joint" else {}
