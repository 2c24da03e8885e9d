"""How a pretrained network wants its pictures: size, crop, mean and standard deviation, read from where it lies."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .stream_settings import StreamSettings

PREPROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
DEFAULT_FLOW_BOUND = 20.0
IMAGE_FIELDS = ("size", "crop_size", "image_mean", "image_std")


def complete_image_fields(settings: StreamSettings, found: Mapping[str, Any], stream: str) -> StreamSettings:
    """Fill in the picture fields that are `None`.

    Flow is made on the scale of -1 to 1 here and no repository describes it, so that its mean is 0, its standard
    deviation 1 and its bound 20 pixels unless given.

    Args:
        settings: what the user gave; it wins.
        found: what the repository of the model says.
        stream: `"rgb"` or `"flow"`.

    Raises:
        ValueError: when a field is known from neither, or `flow_bound` is given for RGB.
    """
    known = dict(found)
    if stream == "flow":
        known.update(image_mean=[0.0, 0.0, 0.0], image_std=[1.0, 1.0, 1.0], flow_bound=DEFAULT_FLOW_BOUND)
    elif settings.flow_bound is not None:
        raise ValueError(f"flow_bound is for the flow stream, got {settings.flow_bound} for {stream}")
    names = (*IMAGE_FIELDS, "flow_bound") if stream == "flow" else IMAGE_FIELDS
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    known.update(given)
    if "crop_size" not in given and "size" in given:
        known["crop_size"] = given["size"]
    missing = [name for name in names if known.get(name) is None]
    if missing:
        raise ValueError(
            f"the repository of its model does not say {', '.join(missing)} (it has no preprocessor_config.json); "
            "give them in the settings of the stream"
        )
    return replace(settings, **{name: known[name] for name in names})


def read_transformers_preprocessing(repository: str, config: Any, **hub_arguments: Any) -> dict[str, Any]:
    """Read the picture fields of a transformers model.

    Args:
        repository: Hub id or folder.
        config: its configuration, whose `image_size` stands in for a missing size.
        hub_arguments: `subfolder` and `revision`.

    Returns:
        Those of `size`, `crop_size`, `image_mean` and `image_std` that are known.
    """
    fields: dict[str, Any] = image_size(config)
    processor = _read_processor(repository, **hub_arguments)
    if processor is None:
        return fields
    fields.update(_normalisation(processor))
    size, crop = _side(processor.get("size")), _side(processor.get("crop_size"))
    if processor.get("do_center_crop") is False:
        crop = None
    if size is not None:
        fields["size"] = size
        fields["crop_size"] = min(crop or size, size)
    return fields


def image_size(config: Any) -> dict[str, int]:
    """Give `size` and `crop_size` as the square that a transformers configuration is made for; empty for any size."""
    side = _side(getattr(config, "image_size", None) or getattr(config, "crop_size", None))
    return {} if side is None else {"size": side, "crop_size": side}


def read_torchvision_preprocessing(name: str) -> dict[str, Any]:
    """Give the picture fields that torchvision states for its weights of the video model `name`."""
    from torchvision.models import get_model_weights

    transform = get_model_weights(name).DEFAULT.transforms()
    return {
        "size": min(transform.resize_size),
        "crop_size": min(transform.crop_size),
        "image_mean": list(transform.mean),
        "image_std": list(transform.std),
    }


def _read_processor(repository: str, **hub_arguments: Any) -> dict[str, Any] | None:
    from transformers.utils import cached_file

    for name in PREPROCESSOR_FILES:
        path = cached_file(
            repository,
            name,
            **hub_arguments,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is not None:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
    return None


def _normalisation(processor: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean and standard deviation for pixels on the scale of 0 to 1, whatever scale the processor itself uses."""
    if processor.get("image_mean") is None or processor.get("image_std") is None:
        return {}
    scale = 255 * processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 255.0
    offset = 1.0 if processor.get("offset") else 0.0
    mean, std = processor["image_mean"], processor["image_std"]
    if processor.get("do_normalize") is False:
        mean, std = [0.0] * 3, [1.0] * 3
    return {
        "image_mean": [(value + offset) / scale for value in mean],
        "image_std": [value / scale for value in std],
    }


def _side(size: Any) -> int | None:
    """Shorter side of a size as transformers writes it: a number, a pair, or a dict."""
    if isinstance(size, Mapping):
        values = [size[name] for name in ("shortest_edge", "height", "width") if size.get(name) is not None]
    elif isinstance(size, list | tuple):
        values = list(size)
    else:
        values = [] if size is None else [size]
    return int(min(values)) if values else None
