"""A small classifier of pictures and one of clips, as methods on the two base recipes."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel, ResNetConfig, ResNetModel
from transformers.image_utils import PILImageResampling
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from hf_vidmodels.configuration.configuration_base import VidModelsConfig, strict_config
from hf_vidmodels.modeling.ops.classification_loss import classification_loss
from hf_vidmodels.processing.base_image_processing import RgbImageProcessor
from hf_vidmodels.processing.base_video_processing import VideoViewsProcessor
from hf_vidmodels.training.recipes.classification import ClassificationArguments
from hf_vidmodels.training.recipes.image_classification import ImageClassificationRecipe
from hf_vidmodels.training.recipes.video_classification import (
    VideoClassificationArguments,
    VideoClassificationRecipe,
)

TINY_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


@strict_config
class PoolingConfig(VidModelsConfig):
    """A ResNet of transformers whose features are averaged over space, and over time where there is time.

    Args:
        backbone_config: the ResNet.
        side: height and width of pictures and frames.
        num_frames: of a clip.
    """

    model_type = "pooling_of_the_training_tests"
    sub_configs: ClassVar = {"backbone_config": ResNetConfig}

    backbone_config: ResNetConfig | dict | None = None
    side: int = 32
    num_frames: int = 4

    @property
    def frame_size(self) -> tuple[int, int]:
        return (self.side, self.side)


PoolingConfig.presets = {"tiny": {"backbone_config": TINY_RESNET}}


class PoolingClassifier(PreTrainedModel):
    """The ResNet and a linear classifier."""

    config_class = PoolingConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PoolingConfig):
        super().__init__(config)
        self.backbone = ResNetModel(config.backbone_config)
        self.classifier = nn.Linear(config.backbone_config.hidden_sizes[-1], config.num_labels)
        self.post_init()

    def forward(self, pixel_values, labels=None, return_dict=True):
        pooled = self.backbone(pixel_values.flatten(0, -4)).pooler_output.flatten(1)
        logits = self.classifier(pooled.unflatten(0, (len(pixel_values), -1)).mean(1))
        loss = None
        if labels is not None:
            multi_label = self.config.problem_type == "multi_label_classification"
            loss = classification_loss(logits, labels, multi_label=multi_label)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


class PictureProcessor(RgbImageProcessor):
    """Pictures of one size."""

    do_resize = True
    resample = PILImageResampling.BILINEAR

    @classmethod
    def from_config(cls, config, **overrides):
        return cls(**({"size": {"height": config.side, "width": config.side}} | overrides))


class ClipProcessor(VideoViewsProcessor):
    """Clips of one size."""

    sampling_strategy = "segments"
    evaluation_views = 1
    evaluation_crops = 1

    @classmethod
    def from_config(cls, config, **overrides):
        size = {"size": {"shortest_edge": config.side}, "crop_size": {"height": config.side, "width": config.side}}
        return cls(**({"num_frames": config.num_frames} | size | overrides))


@dataclass
class PictureArguments(ClassificationArguments):
    sections: ClassVar = {"model": PoolingConfig, "processor": PictureProcessor}
    default_preset: ClassVar = "tiny"


@dataclass
class ClipArguments(VideoClassificationArguments):
    sections: ClassVar = {"model": PoolingConfig, "processor": ClipProcessor}
    default_preset: ClassVar = "tiny"


class PictureRecipe(ImageClassificationRecipe):
    method = "classifier_recipes:PictureRecipe"
    arguments_class = PictureArguments
    model_class = PoolingClassifier


class ClipRecipe(VideoClassificationRecipe):
    method = "classifier_recipes:ClipRecipe"
    arguments_class = ClipArguments
    model_class = PoolingClassifier
