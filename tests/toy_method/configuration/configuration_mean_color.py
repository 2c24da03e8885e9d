"""The configuration of a toy method: the class of a picture from the mean colours of its parts."""

from .configuration_base import VidModelsConfig, strict_config


@strict_config
class MeanColorConfig(VidModelsConfig):
    """How finely the toy looks.

    Args:
        grid_size: rows and columns of cells that a picture is parted into.
    """

    model_type = "mean_color"
    grid_size: int = 2
