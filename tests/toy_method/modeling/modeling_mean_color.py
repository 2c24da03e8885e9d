"""The model of a toy method: one linear layer on the mean colours of a picture's cells."""

import torch
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

from ..configuration.configuration_mean_color import MeanColorConfig
from .modeling_base import VidModelsPreTrainedModel


class MeanColorForImageClassification(VidModelsPreTrainedModel):
    """Tells the class of a picture from the mean colours of its cells."""

    config_class = MeanColorConfig

    def __init__(self, config: MeanColorConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(3 * config.grid_size**2, config.num_labels)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ImageClassifierOutput:
        """Give the logits (B, K) of pictures (B, 3, H, W), and a loss where class ids (B,) are given."""
        cells = nn.functional.adaptive_avg_pool2d(pixel_values, self.config.grid_size)
        logits = self.classifier(cells.flatten(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
