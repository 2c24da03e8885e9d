"""Checkpoints of the toy's "official" code, which calls its layer `fc`, as `MeanColorForImageClassification`."""

from collections.abc import Mapping
from typing import Any

from ..configuration.configuration_mean_color import MeanColorConfig
from ..modeling.modeling_mean_color import MeanColorForImageClassification
from .official_checkpoints import load_strictly, read_state_dict


def convert_mean_color(state_dict_or_path: Any, official_config: Mapping[str, Any]) -> MeanColorForImageClassification:
    """Convert a checkpoint; the options are `cells` and `classes`."""
    config = MeanColorConfig(grid_size=official_config["cells"], num_labels=official_config["classes"])
    model = MeanColorForImageClassification(config)
    weights = read_state_dict(state_dict_or_path)
    names = {key.replace("fc.", "classifier."): key for key in weights}
    load_strictly(model, {ours: weights[theirs] for ours, theirs in names.items()}, names)
    return model.eval()
