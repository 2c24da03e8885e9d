"""Frozen networks that turn a snippet's frames into one feature vector: models of transformers (ours included, once
`hf_vidmodels` is imported) and torchvision's video models.

Every encoder takes clips `(B, T, 3, H, W)` float32, already normalised, and gives `(B, C)` float32.
"""

import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import cached_file

from ...modeling.modeling_base import lacking_weights, refuse_random_weights
from ...weight_digest import digest_of_weights
from .model_preprocessing import (
    complete_image_fields,
    image_size,
    read_torchvision_preprocessing,
    read_transformers_preprocessing,
)
from .stream_settings import HUB_ID, StreamSettings

WEIGHTS_FILE = "model.safetensors"
NAMES_OF_FRAME_COUNT = ("num_frames", "frames_per_clip")
# Their position tables are made for this many frames and no other.
TORCHVISION_FRAME_COUNTS = {"mvit_v1_b": 16, "mvit_v2_s": 16}
CLASSIFIER_LOADERS = {
    "ForVideoClassification": AutoModelForVideoClassification,
    "ForImageClassification": AutoModelForImageClassification,
}


class SnippetEncoder(nn.Module, ABC):
    """Base of all encoders.

    Attributes:
        num_frames: frames that the network was made for, or `None` when it takes any number.
        feature_size: C, width of the features; known once `measure` has run.
    """

    num_frames: int | None = None
    feature_size: int

    def measure(self, num_frames: int, crop_size: int) -> None:
        """Find `feature_size` by encoding one black clip.

        Raises:
            ValueError: when the network does not take clips of this shape.
        """
        clip = torch.zeros(1, num_frames, 3, crop_size, crop_size)
        try:
            with torch.inference_mode():
                self.feature_size = self(clip).shape[1]
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"the network does not take {num_frames} frames of {crop_size}x{crop_size} pixels ({reason}); choose "
                "num_frames and crop_size as it was trained"
            ) from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the network to `folder`, so that `load_encoder` finds it there as a `subfolder`.

        Files are replaced one by one, never written over: the weights in use may be mapped from them.

        Raises:
            OSError: when a file cannot be written; the files there were are kept.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            try:
                self._write(Path(temporary))
            except SafetensorError as error:
                raise OSError(f"the network cannot be written to {folder}: {error}") from error
            for path in sorted(Path(temporary).iterdir()):
                os.replace(path, folder / path.name)

    def digest(self) -> str:
        """SHA-256 of all weights and buffers: equal for networks that give equal features."""
        return digest_of_weights(self)

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write configuration and weights into an empty folder."""


class TransformersEncoder(SnippetEncoder):
    """A video model, or an image model applied to each frame and averaged over the frames.

    Args:
        network: the model.
        pooling: `"mean"` or `"max"` of the last hidden state over all positions, or `"classifier_input"`.

    Raises:
        ValueError: for a network that does not take pictures, or `"classifier_input"` of one without a
            classification head.
    """

    def __init__(self, network: PreTrainedModel, pooling: str) -> None:
        super().__init__()
        self.network = network
        config = network.config
        if not network.main_input_name.startswith("pixel_values"):
            raise ValueError(f"{type(network).__name__} takes {network.main_input_name}, not pictures")
        counts = [getattr(config, name) for name in NAMES_OF_FRAME_COUNT if getattr(config, name, None)]
        self.num_frames = counts[0] if counts else None
        self._takes_video = bool(counts) or "video" in network.input_modalities
        self._classifier_input: torch.Tensor | None = None
        self._pooling = pooling
        if pooling == "classifier_input":
            self._find_classifier().register_forward_pre_hook(self._keep_classifier_input)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Encode clips (B, T, 3, H, W) as (B, C)."""
        if self._takes_video:
            return self._pooled(clips)
        return self._pooled(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(1)

    def _pooled(self, pixel_values: torch.Tensor) -> torch.Tensor:
        output = self.network(**{self.network.main_input_name: pixel_values})
        if self._pooling == "classifier_input":
            return self._classifier_input.flatten(1)
        if "last_hidden_state" not in output:
            raise ValueError(
                f"{type(self.network).__name__} gives no last_hidden_state; use pooling='classifier_input'"
            )
        hidden_states = output.last_hidden_state
        # Transformers give (B, positions, C), convolutional networks (B, C, ...).
        positions = hidden_states if hidden_states.ndim == 3 else hidden_states.flatten(2).transpose(1, 2)
        return positions.amax(1) if self._pooling == "max" else positions.mean(1)

    def _find_classifier(self) -> nn.Linear:
        num_labels = self.network.config.num_labels
        heads = [
            module
            for module in self.network.modules()
            if isinstance(module, nn.Linear) and module.out_features == num_labels
        ]
        if not heads:
            raise ValueError(
                f"{type(self.network).__name__} has no linear layer for its {num_labels} classes whose input could be "
                "the features; use pooling='mean'"
            )
        return heads[-1]

    def _keep_classifier_input(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._classifier_input = inputs[0]

    def _write(self, folder: Path) -> None:
        self.network.save_pretrained(folder)


class TorchvisionEncoder(SnippetEncoder):
    """A video model of torchvision without its classification head.

    Args:
        name: as in `torchvision.models.list_models(torchvision.models.video)`.
        random_init_seed: seed of its weights; `None` leaves them without memory until `load_weights`.

    Raises:
        ValueError: for a name that is no video model.
    """

    def __init__(self, name: str, random_init_seed: int | None = None) -> None:
        import torchvision

        super().__init__()
        names = torchvision.models.list_models(torchvision.models.video)
        if name not in names:
            raise ValueError(f"torchvision has no video model {name!r}; there are: {', '.join(names)}")
        self.name = name
        self.num_frames = TORCHVISION_FRAME_COUNTS.get(name)
        if random_init_seed is None:
            with torch.device("meta"):
                self.network = torchvision.models.get_model(name, weights=None)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random_init_seed)
                self.network = torchvision.models.get_model(name, weights=None)
        heads = [path for path, part in self.network.named_modules() if isinstance(part, nn.Linear | nn.Conv3d)]
        self._head = heads[-1]
        self.network.set_submodule(self._head, nn.Identity())

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Encode clips (B, T, 3, H, W) as (B, C)."""
        return self.network(clips.transpose(1, 2))

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Load a safetensors file with torchvision's names; a classification head in it is left out.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: when it is no safetensors file, or holds other weights.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no weights file {path}")
        try:
            weights = load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is not a safetensors file ({error}); convert the weights to safetensors"
            ) from error
        weights = {
            name: value.float() if value.is_floating_point() else value
            for name, value in weights.items()
            if not name.startswith(f"{self._head}.")
        }
        try:
            self.network.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold the weights of torchvision's {self.name}: {error}") from error

    def _write(self, folder: Path) -> None:
        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps({"torchvision_model": self.name}) + "\n", encoding="utf-8")


def load_encoder(
    settings: StreamSettings | Mapping[str, Any],
    stream: str,
    *,
    num_frames: int,
    checkpoint: str | None = None,
    revision: str | None = None,
) -> tuple[SnippetEncoder, StreamSettings]:
    """Load the network of one stream.

    Args:
        settings: which network and what it is shown.
        stream: `"rgb"` or `"flow"`.
        num_frames: frames of a snippet, which a network without a number of its own sees all of.
        checkpoint: Hub id or folder of the checkpoint that the settings belong to, for a `subfolder` of it.
        revision: of `checkpoint`.

    Returns:
        The network in evaluation mode without gradients, and the settings with nothing left open.

    Raises:
        ValueError, FileNotFoundError, OSError: when it cannot be found, loaded or shown such pictures; the message
            names the stream.
    """
    try:
        settings = StreamSettings.from_dict(settings)
        if settings.torchvision_model is not None:
            encoder, settings = _load_torchvision(settings, stream, checkpoint, revision)
        elif settings.model_config is not None:
            encoder, settings = _make_random(settings, stream)
        else:
            encoder, settings = _load_transformers(settings, stream, checkpoint, revision)
        encoder.requires_grad_(False).eval()
        settings = replace(settings, num_frames=settings.num_frames or encoder.num_frames or num_frames)
        encoder.measure(settings.num_frames, settings.crop_size)
    except (ValueError, OSError) as error:
        kind = next(kind for kind in (FileNotFoundError, OSError, ValueError) if isinstance(error, kind))
        reason = " ".join(str(error).split())
        raise kind(f"the {stream} stream of the feature extractor cannot be made: {reason}") from error
    return encoder, settings


def _load_torchvision(
    settings: StreamSettings, stream: str, checkpoint: str | None, revision: str | None
) -> tuple[SnippetEncoder, StreamSettings]:
    encoder = TorchvisionEncoder(settings.torchvision_model, settings.random_init_seed)
    if settings.weights is not None:
        encoder.load_weights(settings.weights)
    elif settings.subfolder is not None:
        repository = _own_repository(settings, checkpoint)
        encoder.load_weights(cached_file(repository, WEIGHTS_FILE, subfolder=settings.subfolder, revision=revision))
    return encoder, complete_image_fields(settings, read_torchvision_preprocessing(encoder.name), stream)


def _make_random(settings: StreamSettings, stream: str) -> tuple[SnippetEncoder, StreamSettings]:
    fields = dict(settings.model_config)
    model_type = fields.pop("model_type")
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"transformers has no model_type {model_type!r}")
    config = AutoConfig.for_model(model_type, **fields)
    settings = replace(settings, pooling=settings.pooling or "mean")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.random_init_seed)
        network = AutoModel.from_config(config, dtype=torch.float32)
    return TransformersEncoder(network, settings.pooling), complete_image_fields(settings, image_size(config), stream)


def _load_transformers(
    settings: StreamSettings, stream: str, checkpoint: str | None, revision: str | None
) -> tuple[SnippetEncoder, StreamSettings]:
    repository = settings.model
    if repository is None:
        repository = _own_repository(settings, checkpoint)
    else:
        revision = settings.revision
    if not HUB_ID.fullmatch(repository) and not Path(repository).is_dir():
        raise FileNotFoundError(f"there is no model folder {repository}, and it is no Hub id (owner/name) either")
    place = {"subfolder": settings.subfolder or "", "revision": revision or "main"}
    config = AutoConfig.from_pretrained(repository, **place)
    loaders = [loader for ending, loader in CLASSIFIER_LOADERS.items() if _architecture(config).endswith(ending)]
    settings = replace(settings, pooling=settings.pooling or ("classifier_input" if loaders else "mean"))
    loader = AutoModel
    if settings.pooling == "classifier_input":
        if not loaders:
            raise ValueError(
                f"{repository} holds a {_architecture(config) or 'model'} without a classification head, so that "
                "there is no input of one; use pooling='mean'"
            )
        loader = loaders[0]
    network, info = loader.from_pretrained(repository, dtype=torch.float32, output_loading_info=True, **place)
    lacking = lacking_weights(info)
    if settings.pooling != "classifier_input":
        # Only what a classifier sees comes out of the network's own pooler.
        lacking = tuple(name for name in lacking if "pooler" not in name.split("."))
    refuse_random_weights(lacking, repository)
    found = read_transformers_preprocessing(repository, config, **place)
    return TransformersEncoder(network, settings.pooling), complete_image_fields(settings, found, stream)


def _architecture(config: PreTrainedConfig) -> str:
    return (config.architectures or [""])[0]


def _own_repository(settings: StreamSettings, checkpoint: str | None) -> str:
    if checkpoint is None:
        raise ValueError(
            f"its network lies in the sub-folder {settings.subfolder!r} of the checkpoint, but which checkpoint is "
            "not known; load the model with from_pretrained, or name the network's own Hub id or folder as model"
        )
    return checkpoint
