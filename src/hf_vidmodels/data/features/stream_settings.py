"""The settings of one stream of a snippet feature extractor: which network sees which pictures, as plain JSON."""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

STREAMS = ("rgb", "flow")
POOLINGS = ("mean", "max", "classifier_input")
TORCHVISION_PREFIX = "torchvision:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class StreamSettings:
    """One network and what it is shown.

    The network is one of: a transformers model (`model`, a Hub id or a folder), a torchvision video model
    (`model="torchvision:r3d_18"` with `weights` or `random_init_seed`), a transformers architecture with random
    weights (`model_config` with `random_init_seed`), or a sub-folder of the checkpoint that these settings belong to
    (`subfolder` without a transformers `model`). Fields that are `None` are filled in from what the model's repository
    says when it is loaded.

    Args:
        model: Hub id, folder, or `torchvision:<name>`.
        subfolder: folder inside the repository of `model`, or inside the checkpoint's own repository.
        revision: branch, tag or commit of a Hub id.
        model_config: fields of a transformers configuration with its `model_type`.
        random_init_seed: seed of random weights.
        weights: safetensors file of a torchvision model; its classification head is not used.
        pooling: `"mean"` or `"max"` of the last hidden state over all positions (of an image model: of each frame,
            then averaged over the frames), or `"classifier_input"`, what the classification head receives; by default
            the latter for checkpoints of a video or image classifier, otherwise the mean. Torchvision's models always
            give what their head receives.
        num_frames: frames of a snippet that the network sees, evenly spread (repeated where it wants more than there
            are); by default as many as the network was made for, or all.
        size: shorter side in pixels that frames are resized to.
        crop_size: side in pixels of the central square that is cut out after it.
        image_mean: of each channel, on the scale of 0 to 1 (flow: -1 to 1), taken off.
        image_std: of each channel, divided by.
        flow_bound: pixels per frame at which flow is clipped; they become 1. By default 20; only for flow.

    Raises:
        ValueError: for contradicting or impossible fields.
    """

    model: str | None = None
    subfolder: str | None = None
    revision: str | None = None
    model_config: dict[str, Any] | None = None
    random_init_seed: int | None = None
    weights: str | None = None
    pooling: str | None = None
    num_frames: int | None = None
    size: int | None = None
    crop_size: int | None = None
    image_mean: Sequence[float] | None = None
    image_std: Sequence[float] | None = None
    flow_bound: float | None = None

    def __post_init__(self) -> None:
        self._check_network()
        for name in ("num_frames", "size", "crop_size", "flow_bound"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.size is not None and self.crop_size is not None and self.crop_size > self.size:
            raise ValueError(
                f"crop_size {self.crop_size} is larger than size {self.size}, the shorter side of a frame"
            )
        for name in ("image_mean", "image_std"):
            value = getattr(self, name)
            if value is not None and (len(value) != 3 or (name == "image_std" and min(value) <= 0)):
                raise ValueError(
                    f"{name} must be three {'positive ' if name == 'image_std' else ''}numbers, got {value}"
                )
        if self.pooling is not None and self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")

    @property
    def torchvision_model(self) -> str | None:
        """Name of a torchvision model, or `None` for a model of transformers."""
        is_torchvision = self.model is not None and self.model.startswith(TORCHVISION_PREFIX)
        return self.model.removeprefix(TORCHVISION_PREFIX) if is_torchvision else None

    @property
    def lives_in_checkpoint(self) -> bool:
        """Whether the weights are in a sub-folder of the checkpoint that the settings belong to."""
        return self.subfolder is not None and (self.model is None or self.torchvision_model is not None)

    @property
    def names_hub_model(self) -> bool:
        """Whether the network is a model of the Hub, whatever lies on this machine."""
        named = self.model is not None and self.torchvision_model is None
        return named and HUB_ID.fullmatch(self.model) is not None and not Path(self.model).exists()

    def to_dict(self) -> dict[str, Any]:
        """Give the fields that are set, as JSON knows them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, fields: "Mapping[str, Any] | StreamSettings") -> "StreamSettings":
        """Read what `to_dict` gives.

        Raises:
            ValueError: for a field that does not exist.
        """
        if isinstance(fields, StreamSettings):
            return fields
        refuse_unknown_fields(fields, [field.name for field in dataclasses.fields(cls)], "a stream of features")
        return cls(**fields)

    def _check_network(self) -> None:
        sources = {"model": self.model, "model_config": self.model_config}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1 or not (given or self.subfolder):
            raise ValueError(
                "a stream of features needs one of model, model_config or subfolder, got "
                f"{' and '.join(given) if given else 'none'}"
            )
        if self.subfolder is not None:
            path = PurePosixPath(self.subfolder)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"subfolder must lie inside its repository, got {self.subfolder!r}")
        if self.model_config is not None and "model_type" not in self.model_config:
            raise ValueError(
                f"model_config needs a model_type such as 'resnet', got the fields {list(self.model_config)}"
            )
        self._check_weights()

    def _check_weights(self) -> None:
        weights = {"weights": self.weights, "random_init_seed": self.random_init_seed, "subfolder": self.subfolder}
        given = [name for name, value in weights.items() if value is not None]
        if self.torchvision_model is not None and len(given) != 1:
            raise ValueError(
                f"{self.model} needs either weights (a safetensors file) or random_init_seed, nothing is downloaded; "
                f"got {' and '.join(given) if given else 'neither'}"
            )
        if self.model_config is not None and given != ["random_init_seed"]:
            raise ValueError(f"model_config needs random_init_seed and nothing else for its weights, got {given}")
        if self.torchvision_model is None and self.weights is not None:
            raise ValueError("weights is for torchvision models; name the folder of a transformers model as model")
        if self.torchvision_model is None and self.model_config is None and self.random_init_seed is not None:
            raise ValueError(
                "random_init_seed makes random weights for a torchvision model or a model_config; it contradicts "
                f"{self.model or self.subfolder!r}, which has weights"
            )


def refuse_unknown_fields(fields: Mapping[str, Any], known: Sequence[str], owner: str) -> None:
    """Raise a `ValueError` that names a field of `fields` that is not in `known`, and the nearest one that is."""
    unknown = sorted(set(fields) - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
        raise ValueError(f"{owner} has no field {unknown[0]!r}; {hint}")
