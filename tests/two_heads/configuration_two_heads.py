"""The configuration of a toy method with two models."""

from hf_vidmodels.configuration.configuration_base import VidModelsConfig, strict_config


@strict_config
class TwoHeadsConfig(VidModelsConfig):
    """How wide the toy is."""

    model_type = "two_heads"
    hidden_size: int = 4
