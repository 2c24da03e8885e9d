"""How plain residual video networks are trained; the recipe files have the settings of SlowFast's zoo (287ec00)."""

from dataclasses import dataclass
from typing import ClassVar

from ...configuration.configuration_video_resnet import VideoResNetConfig
from ...modeling.modeling_video_resnet import VideoResNetForVideoClassification
from ...processing.processing_video_resnet import VideoResNetVideoProcessor
from ..sections import MODEL, PROCESSOR
from .residual_video import ResidualVideoArguments, ResidualVideoRecipe


@dataclass
class VideoResNetArguments(ResidualVideoArguments):
    """Arguments of the recipe for residual video networks."""

    sections: ClassVar = {MODEL: VideoResNetConfig, PROCESSOR: VideoResNetVideoProcessor}
    default_preset: ClassVar = "slow_r50_8x8"


class VideoResNetRecipe(ResidualVideoRecipe):
    """Trains a residual video network with its classifier."""

    method = "video_resnet"
    arguments_class = VideoResNetArguments
    model_class = VideoResNetForVideoClassification
    args: VideoResNetArguments
