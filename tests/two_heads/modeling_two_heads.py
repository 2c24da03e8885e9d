"""A toy method with two models over one backbone: one names a picture, one counts what is in it."""

import torch
from hf_vidmodels.configuration.configuration_two_heads import TwoHeadsConfig
from torch import nn
from transformers.utils import ModelOutput

from hf_vidmodels.modeling.modeling_base import VidModelsPreTrainedModel


class TwoHeadsPreTrainedModel(VidModelsPreTrainedModel):
    config_class = TwoHeadsConfig

    def __init__(self, config):
        super().__init__(config)
        self.backbone = nn.Linear(3, config.hidden_size)

    def features(self, pixel_values):
        return self.backbone(pixel_values.mean((2, 3)))


class TwoHeadsForImageClassification(TwoHeadsPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, pixel_values):
        return ModelOutput(logits=self.classifier(self.features(pixel_values)))


class TwoHeadsForPictureCounting(TwoHeadsPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.counter = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(self, pixel_values):
        return ModelOutput(counts=torch.relu(self.counter(self.features(pixel_values)))[:, 0])
