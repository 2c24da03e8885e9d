"""How the toy method is trained: as all classifiers of pictures."""

from dataclasses import dataclass
from typing import ClassVar

from ...configuration.configuration_mean_color import MeanColorConfig
from ...modeling.modeling_mean_color import MeanColorForImageClassification
from ...processing.processing_mean_color import MeanColorImageProcessor
from .classification import ClassificationArguments
from .image_classification import ImageClassificationRecipe


@dataclass
class MeanColorArguments(ClassificationArguments):
    """Arguments of the toy: those of all classifiers, and any field of its configuration and processor."""

    sections: ClassVar = {"model": MeanColorConfig, "processor": MeanColorImageProcessor}


class MeanColorRecipe(ImageClassificationRecipe):
    """Trains the toy in one stage by the loss of its model."""

    method = "mean_color"
    arguments_class = MeanColorArguments
    model_class = MeanColorForImageClassification
